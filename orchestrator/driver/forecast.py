"""How long the rest of a launch takes, from work done and not from evaluations ended.

An evaluation takes some time for itself (its text, recording its step) and time for its work, which
is counted in token-forwards, weighted by how they are run. Both are fitted to the evaluations that
have ended; each method then has a pace of its own, to which what is under way contributes. How long
a text is becomes known when the first evaluation of it tells; until then an evaluation counts as an
average one.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from workers.contract.cost import Text, weighted_phases
from workers.contract.events import Progress
from workers.contract.spec import EvalSpec

FIRST = 1.0
"""Seconds after which the pace of what is under way is believed."""
ASIDE = 4000
"""Work that the time for itself is worth until evaluations of different work have ended."""
SPREAD = 0.05
"""Variance of the ended evaluations' work, of its mean square, below which it is all the same."""
_Key = tuple[Any, ...]


@dataclass
class _Sum:
    """Some evaluations of one method."""

    count: int = 0
    work: float = 0.0
    seconds: float = 0.0

    def add(self, work: float, seconds: float = 0.0, count: int = 1) -> None:
        self.count += count
        self.work += work
        self.seconds += seconds


class _Ended:
    """Work and seconds of evaluations that have ended, as the sums that fitting needs."""

    def __init__(self) -> None:
        self.by_method: defaultdict[str, _Sum] = defaultdict(_Sum)
        self._moments = [0.0] * 5

    def add(self, method: str, work: float, seconds: float) -> None:
        self.by_method[method].add(work, seconds)
        # Least squares in which a long evaluation does not drown what short ones tell.
        terms = (1.0, work, work * work, seconds, work * seconds)
        self._moments = [
            sum_ + term / seconds for sum_, term in zip(self._moments, terms, strict=True)
        ]

    def aside(self) -> float:
        """Return the seconds that an evaluation takes for itself; 0 if none has ended."""
        ones, work, squares, seconds, products = self._moments
        if not ones:
            return 0.0
        determinant = ones * squares - work * work
        if determinant > SPREAD * ones * squares:
            return max(0.0, (squares * seconds - work * products) / determinant)
        total = _total(self.by_method.values())
        return ASIDE * total.seconds / (total.work + ASIDE * total.count)


@dataclass
class _UnderWay:
    """What was heard of an evaluation."""

    since: float
    before: float
    """Work done when it was first heard of."""
    at: float
    done: float


class Forecast:
    """The work of the evaluations of one launch."""

    def __init__(
        self, specs: Iterable[EvalSpec], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._waiting: dict[_Key, list[EvalSpec]] = {}
        """By text, while its length is unknown."""
        for spec in specs:
            self._waiting.setdefault(_text_key(spec), []).append(spec)
        self._texts: dict[_Key, Text] = {}
        self._work: dict[str, tuple[str, float]] = {}
        """Method and work of what is left, as far as its text is known."""
        self._left: defaultdict[str, _Sum] = defaultdict(_Sum)
        self._known: defaultdict[str, _Sum] = defaultdict(_Sum)
        """Like `_left`, with what has ended."""
        self._under_way: dict[str, _UnderWay] = {}
        self._gone: set[str] = set()
        """Ended before their text was known."""
        self._first, self._later = _Ended(), _Ended()
        """The first evaluation of an evaluator is used while there is no other."""

    def heard(self, spec: EvalSpec, progress: Progress) -> None:
        """Take note of where an evaluation stands."""
        key = _text_key(spec)
        tells = progress.phase == "quality" and spec.recompute_blocks is None
        if tells and key in self._waiting and progress.tokens_total:
            n_tokens = progress.tokens_total + progress.documents_total
            self._texts[key] = Text(progress.documents_total, n_tokens, is_exact=True)
            for one in self._waiting.pop(key):
                if one.run_id not in self._gone:
                    work = sum(weighted_phases(one, self._texts[key]))
                    self._work[one.run_id] = (one.method, work)
                    self._left[one.method].add(work)
                    self._known[one.method].add(work)
        if key in self._texts and spec.run_id in self._work:
            quality, latency = weighted_phases(spec, self._texts[key])
            share = progress.tokens_done / progress.tokens_total if progress.tokens_total else 0.0
            by_phase = {"quality": share * quality, "latency": quality + share * latency}
            done, now = by_phase.get(progress.phase, 0.0), self._clock()
            item = self._under_way.setdefault(spec.run_id, _UnderWay(now, done, now, done))
            item.at, item.done = now, done

    def ended(self, run_id: str, seconds: float | None = None, *, is_first: bool = False) -> None:
        """An evaluation has ended, here or elsewhere, or was given up.

        seconds: how long it took, if all of it was done here; is_first: by its evaluator, which
        loaded the model before it began with the text.
        """
        item = self._under_way.pop(run_id, None)
        if run_id not in self._work:
            self._gone.add(run_id)
            return
        method, work = self._work.pop(run_id)
        self._left[method].add(-work, count=-1)
        if seconds and is_first and item:
            seconds = min(seconds, self._clock() - item.since)
        if seconds:
            (self._first if is_first else self._later).add(method, work, seconds)

    def begun_again(self, run_id: str) -> None:
        """An evaluation is no longer under way, and will be."""
        self._under_way.pop(run_id, None)

    def seconds_left(self, n_left: int, n_evaluators: int = 1) -> float | None:
        """Return how long the rest takes; None before any work is known.

        n_left: evaluations that have not ended, those of unknown work included.
        n_evaluators: how many evaluations run at a time.
        """
        ended = self._later if self._later.by_method else self._first
        aside = ended.aside()
        paces = self._paces(ended, aside)
        if not paces or not self._known:
            return None
        usual = _total(paces.values())

        def seconds(method: str, work: float, count: int) -> float:
            pace = paces.get(method, usual)
            return count * aside + work * pace.seconds / pace.work

        rest = [
            seconds(self._work[run_id][0], max(0.0, self._work[run_id][1] - item.done), 0)
            for run_id, item in self._under_way.items()
        ]
        waiting = sum(seconds(method, each.work, each.count) for method, each in self._left.items())
        waiting -= sum(seconds(*self._work[run_id], 1) for run_id in self._under_way)
        known = sum(seconds(method, each.work, each.count) for method, each in self._known.items())
        average = known / _total(self._known.values()).count
        unknown = max(0, n_left - len(self._work)) * average
        at_a_time = max(1, min(n_evaluators, n_left))
        return max([(sum(rest) + max(0.0, waiting) + unknown) / at_a_time, *rest])

    def _paces(self, ended: _Ended, aside: float) -> dict[str, _Sum]:
        """Return work and its seconds by method, as far as there is any."""
        paces: defaultdict[str, _Sum] = defaultdict(_Sum)
        total = _total(ended.by_method.values())
        own = max(total.seconds - total.count * aside, 0.01 * total.seconds)
        for method, each in ended.by_method.items():
            # As far as the time aside outweighs its work, a method has the pace of all.
            worth = each.count * aside * total.work / own
            paces[method].add(each.work + worth, each.seconds)
        for run_id, item in self._under_way.items():
            took = item.at - item.since
            if took >= FIRST and item.done > item.before:
                paces[self._work[run_id][0]].add(item.done - item.before, took)
        return {method: each for method, each in paces.items() if each.work > 0}


def _total(sums: Iterable[_Sum]) -> _Sum:
    total = _Sum()
    for each in sums:
        total.add(each.work, each.seconds, each.count)
    return total


def _text_key(spec: EvalSpec) -> _Key:
    text = (spec.dataset, spec.dataset_revision, spec.split, spec.max_documents, spec.max_tokens)
    return (spec.model, spec.model_revision, *text)
