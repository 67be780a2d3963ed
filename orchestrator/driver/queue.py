"""What a driver still has to run, in order, and what it leaves to others on the same store.

User priority first; among equals those of the model that an evaluator has loaded; among these
comparison by comparison, the cheap ones first and each with its baseline at its head. An evaluator
that has timed one member goes on with the next, and no other takes it while there is anything else:
what is compared is measured on one machine within minutes.

With several drivers each comparison belongs to one of them, by its hash, so that they do not meet.
A driver that has run out of its own share takes from the far end of the others' shares.
"""

import heapq
import time
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from orchestrator.sweep import PlannedEvaluation
from workers.contract.cost import rough_cost
from workers.contract.spec import EvalSpec, loading_key


@dataclass(frozen=True, order=True, slots=True)
class Rank:
    """Where an evaluation stands in the queue; the smallest runs first."""

    negative_priority: int
    cost: int
    """Of the comparison's baseline."""
    comparison: int
    """Where its first member stands in the sweep."""
    after_baseline: bool
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
        self._held: set[str] = set()
        """What another driver has under way: it waits here too, and is not handed out."""
        self._passed_over: set[str] = set()
        """What was held when its turn came."""
        self._share = (0, 1)
        self._begun: set[int] = set()
        """Comparisons of which an evaluator has timed a member."""
        self._mates: dict[int, list[str]] = {}
        for run_id in self.places:
            self._mates.setdefault(comparison(self.planned(run_id).spec), []).append(run_id)
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
        self._begun.discard(comparison(self.planned(run_id).spec))  # it failed, or was given back
        model = self._model(run_id)
        if delay:
            self._mine.add_later(run_id, model, self._rank(run_id), time.monotonic() + delay)
        else:
            self._mine.add(run_id, model, self._rank(run_id))

    def pop(self, model: str | None, count: int, after: str | None = None) -> list[str]:
        """Remove and return up to `count` evaluations of one model from this driver's share.

        after: what the evaluator has run last; it goes on with that comparison.
        """
        found = [] if after is None else self._next_to(after)
        kept: list[str] = []  # what other evaluators go on with: only if there is nothing else
        while not found and (taken := self._mine.pop(model, count, time.monotonic())):
            self._passed_over.update(self._held.intersection(taken))
            waiting = [one for one in taken if one in self._waiting and one not in self._held]
            found = [run_id for run_id in waiting if not self._goes_on(run_id)]
            kept += [run_id for run_id in waiting if run_id not in found]
        if not found and kept:
            first = self._model(kept[0])
            found = [run_id for run_id in kept if self._model(run_id) == first][:count]
        for run_id in set(kept) - set(found):
            self._mine.add(run_id, self._model(run_id), self._rank(run_id))
        self._begun.update(comparison(self.planned(run_id).spec) for run_id in found)
        self._waiting.difference_update(found)
        return found

    def _next_to(self, after: str) -> list[str]:
        """Return the next member of a timed comparison that waits and is this driver's."""
        spec = self.planned(after).spec
        if "latency" not in spec.measure:
            return []
        mates = self._mates.get(comparison(spec), ())
        ready = (self._waiting & set(mates)) - self._mine.delayed() - self._held
        same = [run_id for run_id in ready if self._model(run_id) == loading_key(spec)]
        return sorted(same, key=self._rank)[:1]

    def _goes_on(self, run_id: str) -> bool:
        spec = self.planned(run_id).spec
        return "latency" in spec.measure and comparison(spec) in self._begun

    def hold(self, in_flight: set[str]) -> None:
        """Leave alone what other drivers have under way now; what they no longer have is free."""
        self._held = self._waiting & in_flight
        for run_id in self._passed_over - self._held:
            if run_id in self._waiting:
                self._mine.add(run_id, self._model(run_id), self._rank(run_id))
        self._passed_over &= self._held

    def steal(self, count: int) -> list[str]:
        """Remove and return evaluations of one model that others would come to last."""
        taken: list[str] = []
        kept: list[tuple[Rank, str]] = []
        while self._others and len(taken) < count:
            item = self._others.pop()
            run_id = item[1]
            if run_id not in self._waiting:
                continue
            same = not taken or self._model(run_id) == self._model(taken[0])
            if run_id in self._held or not same:
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
        self._passed_over.clear()
        self._others = []
        for run_id in self._waiting - self._mine.delayed():
            if comparison(self.planned(run_id).spec) % share[1] == share[0]:
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
        first = self._mates[comparison(planned.spec)][0]
        places = (self.places[first], self.places[run_id])
        return rank(planned.spec, planned.priority, places)

    def _model(self, run_id: str) -> str:
        return loading_key(self.planned(run_id).spec)


def rank(spec: EvalSpec, priority: int, places: tuple[int, int]) -> Rank:
    """Return the rank of an evaluation: priority, cheap comparisons, their baselines first.

    places: in the sweep, of the first member of its comparison and of itself.
    """
    is_baseline = spec.method == "recompute"
    cost = rough_cost(spec) if is_baseline else rough_cost(spec) * max(1, spec.budget or 0)
    return Rank(-priority, cost, places[0], not is_baseline, places[1])


def comparison(spec: EvalSpec) -> int:
    """Return a number that a baseline and what is compared with it have in common.

    The same in every process, and cheap: a queue may hold a million.
    """
    text = (spec.dataset, spec.dataset_revision, spec.split, spec.max_documents, spec.max_tokens)
    timing = (spec.measure, spec.decode_tokens, spec.warmup_tokens, spec.repeats)
    shared = (spec.model, spec.model_revision, spec.dtype, *text, *timing, spec.seed, spec.budget)
    return zlib.crc32("|".join(map(str, shared)).encode())


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
        while self._delayed and self._delayed[0][0] <= now:
            _, place, run_id, model = heapq.heappop(self._delayed)
            self.add(run_id, model, place)
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
