"""The probe of speeds: the real evaluator on real text, stopped early, and its arithmetic."""

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.driver.probing import EVALUATOR
from tests.support.clock import Clock
from workers.contract.events import Assignment, Finished, Progress, SpanDone, Speed
from workers.contract.spec import EvalSpec
from workers.host.evaluator_host import EvaluatorHost
from workers.speed_probe import SpeedProbe

SPEC = EvalSpec(
    model="demo",
    dataset="stdlib",
    method="streaming",
    n_sink=4,
    window_size=60,
    max_documents=2,
    max_tokens=300,
    decode_tokens=4,
    warmup_tokens=2,
    measure=("quality", "latency", "attention"),
)


def events(spec: EvalSpec, **options: Any) -> list[Any]:
    host = EvaluatorHost(EVALUATOR, {"device": "cpu", "num_threads": 1, **options})
    return list(host.events(Assignment(spec=spec, sweep="probe")))


@pytest.mark.parametrize("method", ["streaming", "recompute", "dense"])
def test_every_part_of_an_evaluation_has_a_time_and_nothing_is_a_result(method: str) -> None:
    found = events(replace(SPEC, method=method))
    (speed,) = (event for event in found if isinstance(event, Speed))
    assert min(speed.load, speed.setup, speed.quality, speed.attention, speed.decode) > 0
    assert (speed.prefill > 0) == (method != "recompute"), "a window needs no state before it"
    assert speed.took >= speed.load + speed.setup
    assert not any(isinstance(event, SpanDone) for event in found)
    assert isinstance(found[-1], Finished)
    assert found[-1].row["status"] == "ok"
    assert found[-1].row["perplexity"] is None
    assert found[-1].row["latency_ms_mean"] is None


def test_what_is_not_measured_takes_no_time() -> None:
    (speed,) = (e for e in events(replace(SPEC, measure=("quality",))) if isinstance(e, Speed))
    assert (speed.attention, speed.prefill, speed.decode) == (0.0, 0.0, 0.0)


class Steady:
    """An evaluator whose first report comes late, and whose others come evenly."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.reports = clock, 0
        self.closed = False

    def columns(self) -> dict[str, Any]:
        return {"device_name": "steady"}

    def run(self, assignment: Assignment) -> Any:
        assert assignment.spec.measure == ("quality",)
        try:
            self.clock.now += 5.0
            yield self.progress(0)
            self.clock.now += 3.0  # the first hundred tokens, cold
            for done in range(100, 10_001, 100):
                yield self.progress(done)
                self.reports += 1
                self.clock.now += 1.0
            return {"perplexity": 1.0}
        finally:
            self.closed = True

    def progress(self, done: int) -> Progress:
        return Progress(
            phase="quality",
            documents_done=0,
            documents_total=1,
            tokens_done=done,
            tokens_total=10_000,
            perplexity=None,
        )


def test_a_pass_is_stopped_after_its_seconds_and_the_rest_goes_on_at_its_steady_speed() -> None:
    clock = Clock()
    probe = SpeedProbe(seconds=5.0, clock=clock, device="cpu")
    probe._evaluator = steady = Steady(clock)  # type: ignore[assignment]
    measured = replace(SPEC, measure=("quality",))
    found = list(probe.run(Assignment(spec=measured, sweep="probe")))
    assert isinstance(speed := found[-1], Speed)
    # 3 s for the first hundred, then 1 s for each of 99 more: as if it had been run to its end.
    assert (speed.setup, speed.quality) == (5.0, 102.0)
    assert steady.reports < 5
    assert steady.closed


class Decoding(Steady):
    """An evaluator that only times a decode."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.tried: list[EvalSpec] = []

    def run(self, assignment: Assignment) -> Any:
        self.tried.append(assignment.spec)
        self.clock.now += 1.0
        yield replace(self.progress(0), phase="latency")
        # 16 timed and 8 warm-up steps of 10 ms, a prefill of 2 s, and half a second of recording
        self.clock.now += 2.0 + 0.5 + 24 * 0.01
        return {"prefill_ms": 2000.0, "latency_ms_mean": 10.0, "timing_repeats": 1}


def test_the_time_of_all_steps_follows_from_a_few() -> None:
    many = replace(SPEC, measure=("latency",), decode_tokens=200, warmup_tokens=20, repeats=3)
    clock = Clock()
    probe = SpeedProbe(clock=clock, device="cpu")
    probe._evaluator = decoding = Decoding(clock)  # type: ignore[assignment]
    (*_, speed) = probe.run(Assignment(spec=many, sweep="probe"))
    tried = decoding.tried[0]
    assert (tried.decode_tokens, tried.warmup_tokens, tried.repeats) == (16, 8, 1)
    assert isinstance(speed, Speed)
    assert speed.prefill == pytest.approx(2.0)
    assert speed.decode == pytest.approx(0.5 + 3 * 220 * 0.01)
