"""What a driver still has to run, and what it leaves to others on the same store.

With several drivers each run id belongs to one of them, by its hash, so that they do not meet.
A driver that has run out of its own share takes from the far end of the others' shares.
"""

import time
from collections.abc import Iterable, Sequence

from orchestrator.executors.base import model_key
from orchestrator.grid.load import PlannedEvaluation
from orchestrator.workload import Rank, Workload, rank


class Backlog:
    """The evaluations of a sweep that wait."""

    def __init__(self, evaluations: Sequence[PlannedEvaluation], places: Iterable[int]) -> None:
        self._evaluations = evaluations
        self.places = {evaluations[place].spec.run_id: place for place in places}
        """Where each wanted run id stands in the sweep."""
        self._mine = Workload()
        self._others: list[tuple[Rank, str]] = []
        self._waiting: set[str] = set()
        self._share = (0, 1)
        for run_id in self.places:
            self.add(run_id)

    def __len__(self) -> int:
        return len(self._waiting)

    def own(self) -> int:
        """Return about how many of those that wait are this driver's share."""
        return len(self._mine)

    def planned(self, run_id: str) -> PlannedEvaluation:
        """Return the evaluation with this run id."""
        return self._evaluations[self.places[run_id]]

    def add(self, run_id: str, *, delay: float = 0.0) -> None:
        """Let an evaluation wait (again); what this driver has begun stays its own."""
        self._waiting.add(run_id)
        model = self._model(run_id)
        if delay:
            self._mine.add_later(run_id, model, self._rank(run_id), time.monotonic() + delay)
        else:
            self._mine.add(run_id, model, self._rank(run_id))

    def take(self, model: str | None, count: int) -> list[str]:
        """Remove and return up to `count` evaluations of one model from this driver's share."""
        while taken := self._mine.take(model, count, time.monotonic()):
            if left := [run_id for run_id in taken if run_id in self._waiting]:
                self._waiting.difference_update(left)
                return left
        return []

    def take_from_others(self, count: int, in_flight: set[str]) -> list[str]:
        """Remove and return evaluations of one model that others would come to last."""
        taken: list[str] = []
        kept: list[tuple[Rank, str]] = []
        while self._others and len(taken) < count:
            item = self._others.pop()
            run_id = item[1]
            if run_id not in self._waiting:
                continue
            same = not taken or self._model(run_id) == self._model(taken[0])
            if run_id in in_flight or not same:
                kept.append(item)
            else:
                taken.append(run_id)
        self._others += reversed(kept)
        self._waiting.difference_update(taken)
        return taken

    def split(self, share: tuple[int, int]) -> None:
        """Divide what waits anew: `share` is (rank of this driver, number of drivers)."""
        if share == self._share:
            return
        self._share = share
        self._mine.clear()
        self._others = []
        for run_id in self._waiting - self._mine.delayed():
            if int(run_id[:8], 16) % share[1] == share[0]:
                self._mine.add(run_id, self._model(run_id), self._rank(run_id))
            else:
                self._others.append((self._rank(run_id), run_id))
        self._others.sort()

    def mark_done(self, run_ids: Iterable[str]) -> list[str]:
        """Forget what someone else has ended; return the run ids that were waiting here."""
        ended = self._waiting.intersection(run_ids)
        self._waiting -= ended
        return sorted(ended)

    def delay_model(self, model: str, delay: float) -> None:
        """Let what waits for this model wait longer, for one of them to try it first."""
        self._mine.delay_model(model, time.monotonic() + delay)

    def discard_model(self, model: str) -> list[str]:
        """Remove and return everything that waits for this model."""
        found = {run_id for run_id in self._waiting if self._model(run_id) == model}
        self._waiting -= found
        return sorted(found)

    def next_ready(self) -> float | None:
        """Return when the first delayed evaluation is due; None if there is none."""
        return self._mine.next_ready()

    def _rank(self, run_id: str) -> Rank:
        planned = self.planned(run_id)
        return rank(planned.spec, planned.priority, self.places[run_id])

    def _model(self, run_id: str) -> str:
        return model_key(self.planned(run_id).spec)
