"""The time that is left, from token-forwards and not from evaluations that ended."""

import pytest

from orchestrator.driver.forecast import Forecast
from tests.support.clock import Clock
from workers.contract.cost import Text, weighted_phases
from workers.contract.events import Progress
from workers.contract.spec import EvalSpec

QUALITY = {"dataset": "pydoc", "model": "demo", "max_tokens": 1000, "measure": ("quality",)}


def spec(method: str, **changes: object) -> EvalSpec:
    return EvalSpec(**{**QUALITY, "method": method, "n_sink": 0, "window_size": 9, **changes})  # type: ignore[arg-type]


def scored(tokens: int) -> Progress:
    return Progress(
        phase="quality",
        documents_done=0,
        documents_total=1,
        tokens_done=tokens,
        tokens_total=999,
        perplexity=9.0,
    )


@pytest.fixture
def clock() -> Clock:
    return Clock()


def seconds_of(one: EvalSpec, aside: float, pace: float) -> float:
    """Return what an evaluation takes where a method has a pace and all the same time aside."""
    return aside + pace * sum(weighted_phases(one, Text(1, 1000, is_exact=True)))


def test_one_long_evaluation_has_a_time_left_from_its_first_seconds(clock: Clock) -> None:
    one = spec("streaming")
    forecast = Forecast([one], clock)
    forecast.heard(one, scored(100))
    assert forecast.seconds_left(1) is None
    clock.now = 2.0
    forecast.heard(one, scored(300))
    assert forecast.seconds_left(1) == pytest.approx((999 - 300) / 100, rel=0.01)


def test_a_baseline_that_waits_counts_by_its_work(clock: Clock) -> None:
    one, baseline = spec("streaming"), spec("recompute")
    forecast = Forecast([one, baseline], clock)
    forecast.heard(one, scored(100))
    clock.now = 2.0
    forecast.heard(one, scored(300))
    left = forecast.seconds_left(2)
    assert left is not None
    assert left == pytest.approx((699 + 9910) / 100, rel=0.02)  # ten tokens for each of 990 windows


def test_an_evaluation_of_an_unknown_text_counts_as_an_average_one(clock: Clock) -> None:
    one, other = spec("streaming"), spec("streaming", dataset="stdlib")
    forecast = Forecast([one, other], clock)
    forecast.heard(one, scored(100))
    clock.now = 2.0
    forecast.heard(one, scored(300))
    assert forecast.seconds_left(2) == pytest.approx((699 + 999) / 100, rel=0.01)
    forecast.ended(one.run_id)
    assert forecast.seconds_left(1) is None  # nothing is known of how long anything took


def test_what_was_given_back_is_done_again(clock: Clock) -> None:
    specs = [spec("streaming", window_size=size) for size in (8, 9, 10)]
    forecast = Forecast(specs, clock)
    forecast.heard(specs[0], scored(0))
    forecast.heard(specs[1], scored(0))
    clock.now = 2.0
    forecast.heard(specs[0], scored(500))
    forecast.heard(specs[1], scored(500))
    assert forecast.seconds_left(3) == pytest.approx((3 * 999 - 1000) / 250, rel=0.01)
    forecast.begun_again(specs[1].run_id)
    assert forecast.seconds_left(3) == pytest.approx((3 * 999 - 500) / 250, rel=0.01)


def test_evaluations_that_ended_tell_what_all_others_take(clock: Clock) -> None:
    """Most of a short one is time for itself, and would be a wrong pace for a long one."""
    streaming = [spec("streaming", max_tokens=1000, n_sink=sinks) for sinks in (1, 2)]
    baselines = [spec("recompute", window_size=size) for size in (4, 8, 32, 100, 300)]
    forecast = Forecast([*streaming, *baselines], clock)
    forecast.heard(streaming[0], scored(0))
    for one in (streaming[0], *baselines[:2]):
        forecast.ended(one.run_id, seconds_of(one, 2.0, 1e-4))
    rest = [streaming[1], *baselines[2:]]
    expected = sum(seconds_of(one, 2.0, 1e-4) for one in rest)
    assert forecast.seconds_left(4) == pytest.approx(expected, rel=1e-6)


def test_a_method_has_a_pace_of_its_own(clock: Clock) -> None:
    fast = [spec("streaming", n_sink=sinks) for sinks in range(40)]
    slow = [spec("recompute", window_size=size) for size in (2, 5, 9)]
    forecast = Forecast([*fast, *slow], clock)
    forecast.heard(fast[0], scored(0))
    for one in fast[:20]:
        forecast.ended(one.run_id, seconds_of(one, 0.0, 1e-3))
    for one in slow[:2]:
        forecast.ended(one.run_id, seconds_of(one, 0.0, 3e-3))
    expected = 20 * seconds_of(fast[0], 0.0, 1e-3) + seconds_of(slow[2], 0.0, 3e-3)
    assert forecast.seconds_left(21) == pytest.approx(expected, rel=0.1)


def test_work_under_way_corrects_a_pace_that_was_taken_from_short_ones(clock: Clock) -> None:
    short, long = spec("recompute", window_size=3), spec("recompute", window_size=400)
    forecast = Forecast([short, long], clock)
    forecast.heard(short, scored(0))
    forecast.ended(short.run_id, 1.0)
    forecast.heard(long, scored(0))
    clock.now = 1000.0
    forecast.heard(long, scored(500))
    assert forecast.seconds_left(1) == pytest.approx(1000 * 499 / 500, rel=0.1)


def test_the_first_of_an_evaluator_loads_the_model_and_is_no_measure(clock: Clock) -> None:
    specs = [spec("streaming", n_sink=sinks) for sinks in range(5)]
    forecast = Forecast(specs, clock)
    clock.now = 56.0
    forecast.heard(specs[0], scored(0))
    clock.now = 60.0
    forecast.ended(specs[0].run_id, 60.0, is_first=True)
    assert forecast.seconds_left(4) == pytest.approx(4 * 4.0)
    forecast.ended(specs[1].run_id, 2.0)
    assert forecast.seconds_left(3) == pytest.approx(3 * 2.0)


def test_evaluators_share_what_is_left_but_for_the_longest(clock: Clock) -> None:
    specs = [spec("streaming", n_sink=sinks) for sinks in range(8)]
    forecast = Forecast(specs, clock)
    forecast.heard(specs[0], scored(0))
    forecast.ended(specs[0].run_id, 2.0)
    assert forecast.seconds_left(7, 2) == pytest.approx(7.0)
    for one in specs[2:]:
        forecast.ended(one.run_id, 2.0)
    assert forecast.seconds_left(1, 4) == pytest.approx(2.0)


def test_a_failure_or_a_row_of_another_driver_is_work_gone_and_no_measure(clock: Clock) -> None:
    specs = [spec("streaming", n_sink=sinks) for sinks in range(4)]
    forecast = Forecast(specs, clock)
    forecast.ended(specs[3].run_id)
    forecast.heard(specs[0], scored(0))
    forecast.ended(specs[0].run_id, 2.0)
    forecast.ended(specs[1].run_id)
    assert forecast.seconds_left(1) == pytest.approx(2.0)
