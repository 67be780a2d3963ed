"""What can go wrong around the evaluations: the grid, the store, the cluster, the command line.

All derive from `SinkSweepError`, so the command line turns each into one readable line and the
`exit_code` of its class: 2 where the user has to change the command or the grid, 1 otherwise.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from workers.contract.errors import SinkSweepError

EXIT_OK = 0
"""Every evaluation of the grid is in the store as `ok`."""
EXIT_FAILED = 1
"""Some evaluations failed, or the store or the cluster did."""
EXIT_USAGE = 2
"""The command or the grid is wrong; nothing was started."""
EXIT_INTERRUPTED = 130
"""Stopped by Ctrl-C or by `sweep cancel`."""


class OrchestratorError(SinkSweepError):
    """Root of the errors of this package."""

    exit_code = EXIT_FAILED


@dataclass(frozen=True)
class GridProblem:
    """One mistake in a grid: where it stands, and what is allowed there."""

    place: str
    """`FILE:LINE`, or `--set` for an override."""
    key: str
    message: str

    @property
    def order(self) -> tuple[str, int]:
        """Sort key: file, then line."""
        name, _, line = self.place.rpartition(":")
        return (name, int(line)) if line.isdigit() else (self.place, 0)

    def __str__(self) -> str:
        return ": ".join(part for part in (self.place, self.key, self.message) if part)


class GridError(OrchestratorError):
    """A grid cannot be used; `problems` holds every mistake in it, not only the first."""

    exit_code = EXIT_USAGE

    def __init__(self, problems: Sequence[GridProblem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: problem.order))
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def __reduce__(self) -> tuple[type["GridError"], tuple[tuple[GridProblem, ...]]]:
        """Pickle by the problems, not by the joined message."""
        return type(self), (self.problems,)


class UsageError(OrchestratorError):
    """An option or an argument of a command is not possible."""

    exit_code = EXIT_USAGE


class ResourcesError(OrchestratorError):
    """The evaluations ask for hardware that this machine or cluster cannot give."""

    exit_code = EXIT_USAGE


class StoreError(OrchestratorError):
    """The store cannot be read or written; never survived silently."""


class StoreVersionError(StoreError):
    """The store was written by a newer version of SinkSweep."""


class ClusterError(OrchestratorError):
    """The Ray cluster cannot be reached or used."""
