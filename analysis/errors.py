"""What can go wrong between a store and a figure, as named exceptions under the common root."""

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
