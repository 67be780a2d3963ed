"""What can go wrong between a store and a figure, as named exceptions under the common root."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workers.contract.errors import SinkSweepError


class AnalysisError(SinkSweepError):
    """A request of the user that cannot be met as it stands."""


class MissingRowsError(AnalysisError):
    """A figure or table lacks rows; says which, and the command that makes them.

    command: empty where none can help, because the rows are a report of others.
    """

    def __init__(self, what: str, command: str = "") -> None:
        remedy = f"make them with: {command}" if command else "the imported files do not say it"
        super().__init__(f"{what}; {remedy}")
        self.what = what
        self.command = command

    def __reduce__(self) -> tuple[type["MissingRowsError"], tuple[str, str]]:
        """Pickle by the two parts, not by the joined message."""
        return type(self), (self.what, self.command)


class DoesNotFitError(AnalysisError):
    """A figure cannot be drawn at a size without texts on texts; says which size would do."""

    def __init__(
        self,
        inches: float,
        why: str,
        *,
        width: float | None = None,
        height: float | None = None,
        given: float | None = None,
    ) -> None:
        size = f"{inches:g}x{given:g} in" if given else f"{inches:g} in"
        enough = [f"--width {math.ceil(width * 10) / 10:g}"] if width else []
        if height:
            enough = [
                f"--figsize {inches:g}x{math.ceil(height * 10) / 10:g}",
                f"--width {inches:g}",
            ]
        remedy = f"; {' or '.join(enough)} would do" if enough else ""
        super().__init__(f"cannot be drawn at {size}: {why}{remedy}")
        self.inches = inches
        self.why = why
        self.is_low = height is not None

    def __reduce__(self) -> tuple[type["DoesNotFitError"], tuple[float, str]]:
        """Pickle by the two parts that are always known."""
        return type(self), (self.inches, self.why)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Make the folder of a file that is written inside. Raises `AnalysisError`, with the reason."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise AnalysisError(f"cannot write {path}: {error.strerror or error}") from error
