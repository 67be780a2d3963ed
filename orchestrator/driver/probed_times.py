"""How long evaluations take, from a few seconds of one of each kind (`sweep plan --probe`)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from orchestrator.reports.sizes import Sizes
from workers.contract.cost import Text, prefill_share, quality_work
from workers.contract.events import Speed
from workers.contract.spec import TEXT_FIELDS, EvalSpec

_NOT_OF_A_KIND = {
    *("dataset", "dataset_revision", "split", "seed", "max_documents", "max_tokens"),
    *("recompute_blocks", "save_token_nll", *TEXT_FIELDS),
}
"""Which text it is and how much of it changes the work, and not how fast it is done."""


@dataclass(frozen=True)
class Tried:
    """An evaluation, and how fast it was where it was tried."""

    spec: EvalSpec
    speed: Speed


@dataclass(frozen=True)
class ProbedTimes:
    """What a probe has found; like `History`, it tells the seconds of any evaluation."""

    tried: Sequence[Tried]
    start_seconds: float
    """Until the first evaluator was ready: Ray, the worker process, torch."""
    evaluators: int
    """How many evaluations run at a time."""
    failed: Mapping[str, Sequence[str]]
    """Evaluations that cannot be run, by the message that they failed with."""

    @property
    def device(self) -> str | None:
        """The device on which the first of them was tried."""
        return self.tried[0].speed.device if self.tried else None

    @property
    def overhead_seconds(self) -> float:
        """Seconds that pass once: starting, and loading every model and text."""
        return self.start_seconds + sum(each.speed.load for each in self.tried)

    def seconds(self, spec: EvalSpec, text: Text, sizes: Sizes) -> float | None:
        """Return how long an evaluation takes; None if none of its kind was tried."""
        like = self._by_kind.get(kind(spec))
        if like is None:
            return None
        speed, its_text = like.speed, sizes.text(like.spec)
        tried_work = quality_work(like.spec, its_text) if its_text else 0
        longer = quality_work(spec, text) / tried_work if tried_work else 1.0
        prefill = speed.prefill * prefill_share(spec, text)
        return speed.setup + longer * speed.quality + speed.attention + prefill + speed.decode

    @cached_property  # grids of a million ask for it
    def _by_kind(self) -> Mapping[tuple[Any, ...], Tried]:
        return {kind(each.spec): each for each in self.tried}

    def problems(self) -> tuple[str, ...]:
        """Return a line for every cause of failure."""
        return tuple(
            f"{labels[0]}{f' and {len(labels) - 1} more' if labels[1:] else ''}: {message}"
            for message, labels in self.failed.items()
        )


def one_of_each_kind(specs: Iterable[EvalSpec]) -> list[EvalSpec]:
    """Return an evaluation of every kind, of as many texts as there are kinds for."""
    members: dict[tuple[Any, ...], list[EvalSpec]] = {}
    for spec in specs:
        members.setdefault(kind(spec), []).append(spec)
    texts: set[tuple[str, str | None]] = set()
    chosen = []
    for group in members.values():
        new = (spec for spec in group if (spec.dataset, spec.split) not in texts)
        chosen.append(next(new, group[0]))
        texts.add((chosen[-1].dataset, chosen[-1].split))
    return chosen


def kind(spec: EvalSpec) -> tuple[Any, ...]:
    """Return what evaluations that are equally fast have in common: not how many sinks."""
    names = [field.name for field in fields(spec) if field.name not in _NOT_OF_A_KIND]
    values = {name: getattr(spec, name) for name in names} | {"n_sink": 0, "window_size": 0}
    return (*values.values(), spec.budget)
