"""The evaluations that wait, in the order in which they should run.

User priority first; among equals those of the model that an evaluator has loaded; among these
the baseline and the cheap ones, so that comparisons appear early.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

from workers.contract.spec import EvalSpec

UNBOUNDED_TOKENS = 100_000
"""Length assumed for a document without `max_tokens`, for ordering alone."""
UNBOUNDED_DOCUMENTS = 10


@dataclass(frozen=True, order=True, slots=True)
class Rank:
    """Where an evaluation stands in the queue; the smallest runs first."""

    negative_priority: int
    after_baselines: bool
    cost: int
    position: int


def rank(spec: EvalSpec, priority: int, position: int) -> Rank:
    """Return the rank of an evaluation: priority, baselines, then cheap ones."""
    is_baseline = spec.method == "recompute"
    return Rank(-priority, not is_baseline, rough_cost(spec), position)


def rough_cost(spec: EvalSpec) -> int:
    """Return about how many tokens go through the model; good enough to sort by."""
    documents = spec.max_documents or UNBOUNDED_DOCUMENTS
    tokens = documents * (spec.max_tokens or UNBOUNDED_TOKENS)
    if spec.method != "recompute":
        return tokens
    return tokens * max(1, spec.n_sink + spec.window_size) // spec.recompute_stride


@dataclass
class _Level:
    """What waits at one priority: a heap per model."""

    by_model: dict[str, list[tuple[Rank, str]]] = field(default_factory=dict)

    def best_model(self, loaded: str | None) -> str:
        if loaded in self.by_model:
            return loaded
        return min(self.by_model, key=lambda model: self.by_model[model][0])


class Workload:
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

    def take(self, loaded: str | None, count: int, now: float) -> Sequence[str]:
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
