"""What can go wrong in one evaluation, as named exceptions under one root.

The command line turns every `SinkSweepError` into one readable line and an exit code; the
driver decides from the class whether another attempt can help.
"""


class SinkSweepError(Exception):
    """Root of all errors that a user can do something about."""


class SpecError(SinkSweepError, ValueError):
    """A field of an `EvalSpec` has a value that is not allowed.

    `problems` holds one (field, message) pair for every wrong field.
    """

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{field}: {message}" for field, message in problems))
        self.problems = problems

    def __reduce__(self) -> tuple[type["SpecError"], tuple[list[tuple[str, str]]]]:
        """Pickle by the problems, not by the joined message (exceptions cross processes)."""
        return type(self), (self.problems,)


class CorpusError(SinkSweepError):
    """A text cannot be read, or holds nothing that can be evaluated."""


class ModelLoadError(SinkSweepError):
    """A model or its tokenizer cannot be loaded; every evaluation of it fails the same way."""


class ModelRefusedError(ModelLoadError):
    """What the checkpoint holds cannot be evaluated; another attempt would read the same."""


class UnsupportedModelError(SinkSweepError):
    """The model's way of placing positions cannot be streamed exactly; never retried."""


class NumericalError(SinkSweepError):
    """NaN or infinity in weights or logits, or a self-check beyond its tolerance."""


class DeviceMemoryError(SinkSweepError):
    """The smallest chunk does not fit into the device's memory."""


class DeviceUnusableError(SinkSweepError):
    """An evaluator was given a GPU and cannot compute on it."""
