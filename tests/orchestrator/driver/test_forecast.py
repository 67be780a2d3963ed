"""The time that is left, from token-forwards and not from evaluations that ended."""

import pytest

from orchestrator.driver import forecast as module
from orchestrator.driver.forecast import Forecast
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
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_one_long_evaluation_has_a_time_left_from_its_first_seconds(clock: list[float]) -> None:
    one = spec("streaming")
    forecast = Forecast([one])
    forecast.heard(one, scored(100))
    assert forecast.seconds_left(1) is None
    clock[0] = 2.0
    forecast.heard(one, scored(300))
    assert forecast.seconds_left(1) == pytest.approx((999 - 300) / 100, rel=0.01)


def test_a_baseline_that_waits_counts_by_its_work(clock: list[float]) -> None:
    one, baseline = spec("streaming"), spec("recompute")
    forecast = Forecast([one, baseline])
    forecast.heard(one, scored(100))
    forecast.seconds_left(2)
    clock[0] = 2.0
    forecast.heard(one, scored(300))
    left = forecast.seconds_left(2)
    assert left is not None
    assert left == pytest.approx((699 + 9910) / 100, rel=0.02)  # ten tokens for each of 990 windows


def test_an_evaluation_of_an_unknown_text_counts_as_an_average_one(clock: list[float]) -> None:
    one, other = spec("streaming"), spec("streaming", dataset="stdlib")
    forecast = Forecast([one, other])
    forecast.heard(one, scored(100))
    forecast.seconds_left(2)
    clock[0] = 2.0
    forecast.heard(one, scored(300))
    assert forecast.seconds_left(2) == pytest.approx((699 + 999) / 100, rel=0.01)


def test_what_has_ended_or_was_given_back_is_counted_once(clock: list[float]) -> None:
    specs = [spec("streaming", window_size=size) for size in (8, 9, 10)]
    forecast = Forecast(specs)
    forecast.heard(specs[0], scored(999))
    forecast.seconds_left(3)
    forecast.ended(specs[0].run_id)
    forecast.heard(specs[1], scored(500))
    forecast.begun_again(specs[1].run_id)
    clock[0] = 2.0
    forecast.heard(specs[1], scored(999))
    assert forecast.seconds_left(2) == pytest.approx(2.0, rel=0.01)  # of three, two in two seconds
