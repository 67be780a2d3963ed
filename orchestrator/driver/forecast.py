"""How long the rest of a launch takes, from work done and not from evaluations ended.

Work is counted in token-forwards, weighted by how they are run. How long a text is becomes known
when the first evaluation of it tells; until then an evaluation counts as an average one.
"""

import time
from collections import deque
from collections.abc import Iterable
from typing import Any

from workers.contract.cost import Text, weighted_phases
from workers.contract.events import Progress
from workers.contract.spec import EvalSpec

WINDOW = 120.0
"""Seconds over which the speed is taken."""
FIRST = 1.0
"""Seconds after which the first speed is believed."""
_Key = tuple[Any, ...]


class Forecast:
    """The work of the evaluations of one launch."""

    def __init__(self, specs: Iterable[EvalSpec]) -> None:
        self._waiting: dict[_Key, list[EvalSpec]] = {}
        """By text, while its length is unknown."""
        for spec in specs:
            self._waiting.setdefault(_text_key(spec), []).append(spec)
        self._texts: dict[_Key, Text] = {}
        self._work: dict[str, float] = {}
        """Of the evaluations whose text is known, ended ones included."""
        self._done: dict[str, float] = {}
        self._left = 0.0
        self._ended_unknown: set[str] = set()
        self._finished = 0.0
        self._marks: deque[tuple[float, float]] = deque()

    def heard(self, spec: EvalSpec, progress: Progress) -> None:
        """Take note of where an evaluation stands."""
        key = _text_key(spec)
        tells = progress.phase == "quality" and spec.recompute_blocks is None
        if tells and key in self._waiting and progress.tokens_total:
            n_tokens = progress.tokens_total + progress.documents_total
            self._texts[key] = Text(progress.documents_total, n_tokens, is_exact=True)
            for one in self._waiting.pop(key):
                if one.run_id not in self._ended_unknown:
                    self._work[one.run_id] = sum(weighted_phases(one, self._texts[key]))
                    self._left += self._work[one.run_id]
        if key in self._texts and spec.run_id in self._work:
            quality, latency = weighted_phases(spec, self._texts[key])
            share = progress.tokens_done / progress.tokens_total if progress.tokens_total else 0.0
            done = {"quality": share * quality, "latency": quality + share * latency}
            self._done[spec.run_id] = done.get(progress.phase, 0.0)

    def ended(self, run_id: str) -> None:
        """An evaluation has ended, here or elsewhere, or was given up."""
        self._done.pop(run_id, None)
        if run_id in self._work:
            self._left -= self._work[run_id]
            self._finished += self._work.pop(run_id)
        else:
            self._ended_unknown.add(run_id)

    def begun_again(self, run_id: str) -> None:
        """An evaluation is no longer under way, and will be."""
        self._done.pop(run_id, None)

    def seconds_left(self, n_left: int) -> float | None:
        """Return how long the rest takes; None before any work is known.

        n_left: evaluations that have not ended, those of unknown work included.
        """
        done = self._finished + sum(self._done.values())
        now = time.monotonic()
        if done and (not self._marks or now - self._marks[-1][0] >= FIRST):
            self._marks.append((now, done))
        while len(self._marks) > 2 and now - self._marks[1][0] > WINDOW:
            self._marks.popleft()
        if not self._work or len(self._marks) < 2:
            return None
        (then, before), (last, latest) = self._marks[0], self._marks[-1]
        if latest <= before:
            return None
        unknown = max(0, n_left - len(self._work)) * self._left / len(self._work)
        left = self._left - sum(self._done.values()) + unknown
        return max(0.0, left) * (last - then) / (latest - before)


def _text_key(spec: EvalSpec) -> _Key:
    text = (spec.dataset, spec.dataset_revision, spec.split, spec.max_documents, spec.max_tokens)
    return (spec.model, spec.model_revision, *text)
