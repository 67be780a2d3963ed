"""What a launch would do, before any money is spent: evaluations, work, time, price."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.reports.cost_history import COLUMNS, History
from orchestrator.reports.sizes import Sizes
from orchestrator.reports.text_report import text_warnings
from orchestrator.store.remaining import STATE_COLUMNS, is_done
from orchestrator.store.store import Store
from orchestrator.sweep import PlannedEvaluation, Sweep
from workers.contract.cost import Text, token_forwards
from workers.contract.spec import EvalSpec
from workers.contract.statistics import BASE_BLOCK

MOST_BASELINE = 0.9
"""Share of the work above which a cheaper baseline is proposed."""
MIN_BLOCKS = 16
"""Fewer are not worth a sample: half of them is what an interval needs twice over."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The cost of some evaluations; what cannot be known is counted, never guessed."""

    evaluations: int
    token_forwards: int
    """Of the evaluations whose work is known."""
    work_is_exact: bool
    """False: an upper bound from `max_documents` and `max_tokens`."""
    work_is_sampled: bool
    """Not exact, but of texts of which passages were counted, and of no upper bound."""
    work_unknown: int
    """Evaluations without limits on a text that no evaluation in the store has read."""
    seconds: float | None
    """On `Plan.device`, for the evaluations that were probed or have a history; None if none."""
    time_unknown: int


@dataclass(frozen=True, kw_only=True)
class Group:
    """The evaluations to run of one model, data set and method."""

    model: str
    dataset: str
    method: str
    estimate: Estimate


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a launch would find and do."""

    sweep: str
    total: int
    done: int
    failed: int
    """Of those to run: failed in an earlier launch."""
    folded: int
    """Combinations of the grid that were equal to another one."""
    device: str | None
    """Whose speeds the estimate uses: where it was probed, or what ran most lately here."""
    probed: bool
    """The times are of a probe, not of earlier rows."""
    overhead_seconds: float
    """As far as probed: until the first evaluation runs, and to load every model and text."""
    evaluators: int
    """As far as probed: how many evaluations run at a time."""
    estimate: Estimate
    """Of all evaluations to run."""
    groups: tuple[Group, ...]
    warnings: tuple[str, ...]
    problems: tuple[str, ...]
    """Texts, tokenizers and models that cannot be had here, each once."""
    run_ids: tuple[str, ...]
    """To run."""

    @property
    def wall_seconds(self) -> float | None:
        """Seconds until a launch has ended; None if they are unknown."""
        seconds = self.estimate.seconds
        return None if seconds is None else self.overhead_seconds + seconds / self._side_by_side

    def cost(self, price_per_hour: float) -> float | None:
        """Return the price of the estimated time of all devices; None if the time is unknown."""
        wall = self.wall_seconds
        return None if wall is None else wall * self._side_by_side / 3600 * price_per_hour

    @property
    def _side_by_side(self) -> int:
        return max(1, min(self.evaluators, self.estimate.evaluations))

    def as_json(self) -> dict[str, Any]:
        """Return the plan as plain data."""
        return {**asdict(self), "wall_seconds": self.wall_seconds}


class Times(Protocol):
    """What knows how long evaluations take."""

    @property
    def device(self) -> str | None:
        """Where they take so long."""

    @property
    def overhead_seconds(self) -> float:
        """What passes once, whatever is run."""

    @property
    def evaluators(self) -> int:
        """How many evaluations run at a time."""

    def problems(self) -> Sequence[str]:
        """Return a line for everything that cannot be run."""

    def seconds(self, spec: EvalSpec, text: Text, sizes: Sizes) -> float | None:
        """Return how long an evaluation takes; None if nothing like it has ever run."""


def make_plan(
    sweep: Sweep,
    store: Store,
    *,
    accelerators: Iterable[str] = (),
    read_texts: bool = True,
    probe: Callable[[Sequence[EvalSpec]], Times] | None = None,
) -> Plan:
    """Compare a sweep with a store.

    read_texts: count the tokens of texts whose length no row in the store tells.
    accelerators: the kinds of GPU that the cluster has. probe: tries evaluations where they would
    run; without it times are those of earlier rows. Raises `StoreError`, and what `probe` raises.
    """
    trials = store.trials(list(dict.fromkeys((*STATE_COLUMNS, *COLUMNS))))
    run_ids = pa.array([item.spec.run_id for item in sweep.evaluations], pa.string())
    done = is_done(run_ids, sweep.evaluations, sweep.resources, trials)
    failed = trials.filter(pc.equal(trials["status"], pa.scalar("failed")))
    failed_before = set(failed["run_id"].to_pylist())
    todo = [item for item, is_there in zip(sweep.evaluations, done, strict=True) if not is_there]
    to_run = tuple(item.spec.run_id for item in todo)
    history = History(trials)
    specs = [item.spec for item in todo]
    sizes = Sizes(history, read_texts=read_texts)
    times: Times = probe(specs) if probe and specs else history
    groups = tuple(_groups(todo, times, sizes))
    texts = text_warnings(specs) if read_texts else []
    mild, problems = _told_once(texts, tuple(sizes.problems), {spec.dataset for spec in specs})
    return Plan(
        sweep=sweep.name,
        total=len(sweep.evaluations),
        done=int(done.sum()),
        failed=sum(run_id in failed_before for run_id in to_run),
        folded=sweep.n_folded,
        device=times.device,
        probed=times is not history,
        overhead_seconds=times.overhead_seconds,
        evaluators=times.evaluators,
        estimate=_estimate(specs, times, sizes),
        groups=groups,
        warnings=(
            *mild,
            *_warnings(sweep, history, sorted(set(accelerators))),
            *sizes.beyond_training(specs),
            *_proposals(specs, sizes),
        ),
        problems=(*problems, *_unsaid(times.problems(), problems)),
        run_ids=to_run,
    )


def _groups(todo: Sequence[PlannedEvaluation], times: Times, sizes: Sizes) -> list[Group]:
    members: dict[tuple[str, str, str], list[EvalSpec]] = {}
    for item in todo:
        key = (item.spec.model, item.spec.dataset, item.spec.method)
        members.setdefault(key, []).append(item.spec)
    return [
        Group(model=model, dataset=dataset, method=method, estimate=_estimate(specs, times, sizes))
        for (model, dataset, method), specs in members.items()
    ]


def _estimate(specs: Sequence[EvalSpec], times: Times, sizes: Sizes) -> Estimate:
    texts = [sizes.text(spec) for spec in specs]
    works = [
        None if text is None else token_forwards(spec, text)
        for spec, text in zip(specs, texts, strict=True)
    ]
    known = [
        seconds
        for spec, text in zip(specs, texts, strict=True)
        if text is not None and (seconds := times.seconds(spec, text, sizes)) is not None
    ]
    return Estimate(
        evaluations=len(specs),
        token_forwards=sum(work for work in works if work is not None),
        work_is_exact=all(text is not None and text.is_exact for text in texts),
        work_is_sampled=all(
            text is not None and (text.is_exact or text.is_sampled) for text in texts
        ),
        work_unknown=works.count(None),
        seconds=sum(known) if known else (None if specs else 0.0),
        time_unknown=len(specs) - len(known),
    )


def _proposals(specs: Sequence[EvalSpec], sizes: Sizes) -> list[str]:
    """Propose a sample of blocks where the exact baseline is nearly all of the work."""
    works = [
        (spec, text, token_forwards(spec, text)) for spec in specs if (text := sizes.text(spec))
    ]
    baselines = [
        (text.n_tokens // BASE_BLOCK, work)
        for spec, text, work in works
        if spec.method == "recompute" and "quality" in spec.measure
        if spec.recompute_stride == 1 and spec.recompute_blocks is None
    ]
    total = sum(work for *_, work in works)
    share = sum(work for _, work in baselines) / max(1, total)
    blocks = max((blocks for blocks, _ in baselines), default=0)
    if share <= MOST_BASELINE or blocks < MIN_BLOCKS:
        return []
    sample = max(MIN_BLOCKS // 2, blocks // 4)
    return [
        f"recompute is {share:.0%} of the work; recompute_blocks: {sample} scores the exact "
        f"baseline on {sample} of up to {blocks} blocks of {BASE_BLOCK} tokens, at "
        f"{sample / blocks:.0%} of its cost, and compares on those blocks alone"
    ]


def _unsaid(problems: Iterable[str], said: Sequence[str]) -> list[str]:
    """Leave out what only repeats a problem that has been told."""
    causes = [told.partition(": ")[2] or told for told in said]  # without the name of the text
    return [one for one in problems if not any(cause in one for cause in causes)]


def _told_once(
    warnings: Sequence[str], problems: Sequence[str], datasets: Iterable[str]
) -> tuple[list[str], tuple[str, ...]]:
    """Tell a text that fails once: as a problem, in the words that count its documents."""
    mild, told = list(warnings), dict.fromkeys(problems)
    for start in (f"{dataset}: " for dataset in datasets):
        counted = [one for one in mild if one.startswith(start) and "will fail" in one]
        failing = [problem for problem in told if problem.startswith(start)]
        if counted and failing:
            mild = [warning for warning in mild if warning not in counted]
            told = {problem: None for problem in told if problem not in failing}
            told |= dict.fromkeys(counted)
    return mild, tuple(told)


def _warnings(sweep: Sweep, history: History, accelerators: list[str]) -> list[str]:
    timed = any("latency" in item.spec.measure for item in sweep.evaluations)
    if not timed or sweep.resources.accelerator is not None:
        return []
    advice = "speeds are compared on one kind only; pin it with --set resources.accelerator=TYPE"
    found = []
    if len(accelerators) > 1:
        found.append(f"the cluster mixes accelerators ({', '.join(accelerators)}): {advice}")
    if len(history.devices) > 1:
        found.append(
            f"the store has results of several devices ({', '.join(history.devices)}): {advice}"
        )
    return found
