"""What the driver needs from whatever runs evaluations: slots, submissions, updates.

Two implementations: `inline.InlineExecutor` in this process, `ray_executor.RayExecutor` on a
cluster.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from workers.contract.events import Assignment, Event
from workers.contract.failures import Failure


@dataclass(frozen=True)
class Slot:
    """An evaluator with nothing to do."""

    id: str
    model: str | None
    """`spec.loading_key` of what it has loaded."""
    capacity: int = 1
    """How many evaluations to hand it at once: more than one where they take milliseconds."""


@dataclass(frozen=True)
class Happened:
    """An evaluation under way told something."""

    run_id: str
    event: Event


@dataclass(frozen=True)
class Returned:
    """Evaluations that were submitted and have no result: someone else may have them."""

    run_ids: tuple[str, ...]


@dataclass(frozen=True)
class Lost:
    """The evaluator died, and with it the evaluations it had."""

    run_ids: tuple[str, ...]
    failure: Failure


Update = Happened | Returned | Lost


class Executor(Protocol):
    """Evaluators, as the driver sees them.

    Whatever ends an evaluator, what it still holds comes back from `wait` as `Finished`, `Returned`
    or `Lost`: nothing that was submitted is ever forgotten.
    """

    notes: Sequence[str]
    """What a reader of the summary has to know about the hardware, one line each."""

    def room(self) -> int:
        """Return how many evaluations could run at a time."""

    def scale(self, wanted: int) -> None:
        """Say how many evaluations wait or run: get evaluators for them, let idle ones go."""

    def free(self) -> Sequence[Slot]:
        """Return the evaluators that can take work now."""

    def submit(self, slot: str, assignments: Sequence[Assignment]) -> None:
        """Hand evaluations of one model to a free evaluator."""

    def wait(self, timeout: float) -> Sequence[Update]:
        """Return what has happened, after at most `timeout` seconds."""

    def cancel(self) -> None:
        """Let evaluations under way come to a stop at their next report."""

    def why(self) -> str:
        """Return why no evaluator has work, in one line."""

    def news(self) -> Sequence[str]:
        """Return what has changed about the hardware since the last call, one line each."""

    def busy(self) -> int:
        """Return how many evaluators have work."""

    def close(self) -> None:
        """End the evaluators, at once."""
