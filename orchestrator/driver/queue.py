"""What a driver still has to run, in order, and what it leaves to others on the same store.

User priority first; among equals those of the model that an evaluator has loaded; among these
the baseline and the cheap ones, so that comparisons appear early.

With several drivers each run id belongs to one of them, by its hash, so that they do not meet.
A driver that has run out of its own share takes from the far end of the others' shares.
"""

import heapq
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from orchestrator.sweep import PlannedEvaluation
from workers.contract.cost import rough_cost
from workers.contract.spec import EvalSpec, loading_key


@dataclass(frozen=True, order=True, slots=True)
class Rank:
    """Where an evaluation stands in the queue; the smallest runs first."""

    negative_priority: int
    after_baselines: bool
    cost: int
    position: int


class Queue:
    """The evaluations of a sweep that wait."""

    def __init__(self, evaluations: Sequence[PlannedEvaluation], places: Iterable[int]) -> None:
        self._evaluations = evaluations
        self.places = {evaluations[place].spec.run_id: place for place in places}
        """Where each wanted run id stands in the sweep."""
        self._mine = ModelQueue()
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

    def pop(self, model: str | None, count: int) -> list[str]:
        """Remove and return up to `count` evaluations of one model from this driver's share."""
        while taken := self._mine.pop(model, count, time.monotonic()):
            if left := [run_id for run_id in taken if run_id in self._waiting]:
                self._waiting.difference_update(left)
                return left
        return []

    def steal(self, count: int, in_flight: set[str]) -> list[str]:
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
        return loading_key(self.planned(run_id).spec)


def rank(spec: EvalSpec, priority: int, position: int) -> Rank:
    """Return the rank of an evaluation: priority, baselines, then cheap ones."""
    is_baseline = spec.method == "recompute"
    return Rank(-priority, not is_baseline, rough_cost(spec), position)


@dataclass
class _Level:
    """What waits at one priority: a heap per model."""

    by_model: dict[str, list[tuple[Rank, str]]] = field(default_factory=dict)

    def best_model(self, loaded: str | None) -> str:
        if loaded in self.by_model:
            return loaded
        return min(self.by_model, key=lambda model: self.by_model[model][0])


class ModelQueue:
    """A priority queue of run ids that knows which model each needs."""

    def __init__(self) -> None:
        self._levels: dict[int, _Level] = {}
        self._delayed: list[tuple[float, Rank, str, str]] = []
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting + len(self._delayed)

    def add(self, run_id: str, model: str, place: Rank) -> None:
        """Let an evaluation wait from now on."""
        level = self._levels.setdefault(place.negative_priority, _Level())
        heapq.heappush(level.by_model.setdefault(model, []), (place, run_id))
        self._waiting += 1

    def add_later(self, run_id: str, model: str, place: Rank, ready_at: float) -> None:
        """Let an evaluation wait once the clock has reached `ready_at`."""
        heapq.heappush(self._delayed, (ready_at, place, run_id, model))

    def pop(self, loaded: str | None, count: int, now: float) -> Sequence[str]:
        """Remove and return up to `count` evaluations of one model, the first in line first."""
        self._wake(now)
        if not self._waiting:
            return ()
        priority = min(self._levels)
        level = self._levels[priority]
        model = level.best_model(loaded)
        heap = level.by_model[model]
        taken = [heapq.heappop(heap)[1] for _ in range(min(count, len(heap)))]
        self._waiting -= len(taken)
        if not heap:
            del level.by_model[model]
        if not level.by_model:
            del self._levels[priority]
        return taken

    def delay_model(self, model: str, ready_at: float) -> None:
        """Let everything that waits for this model wait until `ready_at`."""
        for priority, level in list(self._levels.items()):
            for place, run_id in level.by_model.pop(model, []):
                self._waiting -= 1
                self.add_later(run_id, model, place, ready_at)
            if not level.by_model:
                del self._levels[priority]

    def next_ready(self) -> float | None:
        """Return when the first delayed evaluation is due; None if there is none."""
        return self._delayed[0][0] if self._delayed else None

    def delayed(self) -> set[str]:
        """Return the run ids that are not due yet."""
        return {item[2] for item in self._delayed}

    def clear(self) -> None:
        """Remove everything that is due."""
        self._levels = {}
        self._waiting = 0

    def _wake(self, now: float) -> None:
        while self._delayed and self._delayed[0][0] <= now:
            _, place, run_id, model = heapq.heappop(self._delayed)
            self.add(run_id, model, place)
