"""How long an evaluation would take here: the evaluator itself, stopped after a few seconds.

Each measure is run alone, on the real model and the real text. Of a quality pass only the beginning
is run: from its second report on its speed is steady (before, kernels warm up, and `recompute`
scores a whole window in one forward), and the rest is taken to go on like that. A pass over a
longer and longer context (`dense`) is therefore underrated on long texts. Of a decode few steps
are run, once. Nothing that a probe finds is a result.
"""

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, cast

from workers.contract.cost import prefill_limit
from workers.contract.events import Assignment, Evaluation, Progress, Speed
from workers.contract.spec import EvalSpec, Measure
from workers.evaluator import Evaluator

SECONDS = 3.0
"""Of a quality pass that are run."""
DECODE_FORWARDS = 2048
"""Token-forwards of the timed steps that are run, at most …"""
FEWEST_STEPS, MOST_STEPS = 2, 16
"""… in so many steps, whatever they cost."""


class SpeedProbe:
    """An evaluator that yields the `Speed` of what it is handed.

    seconds: of each quality pass. options: of `Evaluator`.
    """

    def __init__(
        self,
        *,
        seconds: float = SECONDS,
        clock: Callable[[], float] = time.perf_counter,
        **options: Any,
    ) -> None:
        self._seconds, self._clock = seconds, clock
        self._evaluator = Evaluator(**options)

    def columns(self) -> dict[str, Any]:
        """Return where this evaluator runs."""
        return self._evaluator.columns()

    def run(self, assignment: Assignment) -> Evaluation:
        """Yield progress and one `Speed`; raises what evaluating would raise."""
        spec = replace(assignment.spec, save_token_nll=False)
        began = self._clock()
        measures = cast("Sequence[Measure]", spec.measure)
        little = {
            measure: _decoding_little(spec) if measure == "latency" else spec
            for measure in measures
        }
        cold = yield from self._alone(little[measures[0]], measures[0], only_setup=True)
        runs: dict[str, _Run] = {}
        for measure in measures:
            runs[measure] = yield from self._alone(little[measure], measure)
        latency = runs.get("latency")
        prefill, decode = (0.0, 0.0) if latency is None else _decode_seconds(spec, latency)
        yield Speed(
            device=str(self.columns()["device_name"]),
            load=max(0.0, cold.setup - runs[measures[0]].setup),
            setup=runs[measures[0]].setup,
            quality=runs["quality"].seconds if "quality" in runs else 0.0,
            attention=runs["attention"].seconds if "attention" in runs else 0.0,
            prefill=prefill,
            decode=decode,
            took=self._clock() - began,
        )
        return {"latency_note": "a probe: nothing was evaluated"}

    def _alone(
        self, spec: EvalSpec, measure: Measure, *, only_setup: bool = False
    ) -> Generator[Progress, None, "_Run"]:
        """Run one measure to its end, or for so long that its end can be told."""
        events = self._evaluator.run(
            Assignment(spec=replace(spec, measure=(measure,)), sweep="probe")
        )
        began = self._clock()
        reports: list[tuple[float, int]] = []
        with closing(events):
            while True:
                try:
                    event = next(events)
                except StopIteration as end:
                    whole = self._clock()
                    first = reports[0][0] if reports else whole
                    return _Run(first - began, whole - first, dict(end.value), spec)
                if not isinstance(event, Progress):
                    continue
                if event.phase == measure:
                    reports.append((self._clock(), event.tokens_done))
                    setup = reports[0][0] - began
                    if only_setup:
                        return _Run(setup, 0.0, {}, spec)
                    # It has run for its time, and long enough to have a steady speed.
                    is_enough = len(reports) >= 3 and reports[-1][0] - reports[0][0] > self._seconds
                    if measure == "quality" and is_enough:
                        left = event.tokens_total - event.tokens_done
                        return _Run(setup, _extrapolated(reports, left), {}, spec)
                yield event


@dataclass(frozen=True)
class _Run:
    setup: float
    seconds: float
    columns: dict[str, Any]
    """Of its row; empty if it was stopped."""
    spec: EvalSpec
    """As it was tried."""


def _extrapolated(reports: list[tuple[float, int]], left: int) -> float:
    """Return the seconds of a whole pass: what has passed, and the rest at its steady speed."""
    (start, _), (steady_from, then), (now, done) = reports[0], reports[1], reports[-1]
    return now - start + left * (now - steady_from) / max(1, done - then)


def _decoding_little(spec: EvalSpec) -> EvalSpec:
    window = (spec.budget or 0) + 1 if spec.method == "recompute" else 1
    steps = max(FEWEST_STEPS, min(MOST_STEPS, DECODE_FORWARDS // window))
    limit = prefill_limit(spec)
    return replace(
        spec,
        repeats=1,
        decode_tokens=min(spec.decode_tokens, steps),
        warmup_tokens=min(spec.warmup_tokens, max(1, steps // 2)),
        max_tokens=limit if spec.max_tokens is None else min(spec.max_tokens, limit),
    )


def _decode_seconds(spec: EvalSpec, run: _Run) -> tuple[float, float]:
    """Return the seconds of the prefill, and of everything after it with all steps and repeats."""
    step_ms = run.columns.get("latency_ms_mean")
    if step_ms is None:  # the text is too short to be decoded
        return 0.0, run.seconds
    prefill = (run.columns["prefill_ms"] or 0.0) / 1e3
    tried = run.columns["timing_repeats"] * (run.spec.decode_tokens + run.spec.warmup_tokens)
    around = max(0.0, run.seconds - prefill - tried * step_ms / 1e3)
    steps = spec.repeats * (spec.decode_tokens + spec.warmup_tokens)
    return prefill, around + steps * step_ms / 1e3
