"""What the rules spoil is marked on the row and compared with nothing."""

import pytest

from analysis.figures import pareto
from analysis.figures.ablation import select_window_size
from analysis.rows import comparable, frames
from tests.support.analysis_rows import row, table

WINDOWS = (32, 64, 128, 256)


def clean() -> list[dict]:
    return [
        row(method=method, window_size=window)
        for window in WINDOWS
        for method in ("streaming", "recompute")
    ]


def tidy(rows: list[dict], changed: dict[int, dict] | None = None):
    changed = changed or {}
    return frames.tidy(
        table([one | changed.get(number, {}) for number, one in enumerate(rows)])
    ).set_index("window_size", append=True)


def test_honest_rows_carry_no_reason():
    frame = tidy(clean())
    assert frame[["quality_unusable", "speed_unusable"]].isna().all().all()


@pytest.mark.parametrize(
    ("changes", "rule", "spoils_quality", "spoils_speed"),
    [
        ({"device_shared": True}, "device-shared", False, True),
        ({"timing_disturbed": "others took 60%"}, "disturbed-timing", False, True),
        ({"runtime_ms": 1e9}, "cold-start", False, True),
        ({"prefill_ms": 1e9}, "cold-start", False, False),
        ({"parity_max_abs_diff": 0.1}, "parity", True, True),
    ],
)
def test_a_broken_rule_marks_the_number_that_it_spoils(changes, rule, spoils_quality, spoils_speed):
    marked = tidy(clean(), {2: changes}).iloc[2]
    assert (marked["quality_unusable"] == rule) is spoils_quality
    assert (marked["speed_unusable"] == rule) is spoils_speed


def test_several_broken_rules_are_all_named():
    marked = tidy(clean(), {2: {"device_shared": True, "parity_max_abs_diff": 0.1}}).iloc[2]
    assert marked["speed_unusable"] == "device-shared, parity"


def test_a_number_that_was_not_measured_is_not_called_unusable():
    rows = [*clean(), row(method="streaming", window_size=512, measure=("quality",))]
    frame = tidy(rows, {8: {"device_shared": True, "parity_max_abs_diff": 0.1}})
    assert frame.iloc[8]["quality_unusable"] == "parity"
    assert frames.is_missing(frame.iloc[8]["speed_unusable"])


@pytest.mark.parametrize("spoilt", [0, 1], ids=["streaming", "its baseline"])
def test_a_spoilt_time_on_either_side_leaves_no_speedup_and_keeps_the_increase(spoilt):
    pair = tidy(clean(), {spoilt: {"device_shared": True}}).iloc[0]
    assert pair[["speedup", "speedup_low", "speed_partner"]].isna().all()
    assert pair["speed_note"]
    assert pair["perplexity_increase"] == pytest.approx(
        pair["perplexity"] / pair["baseline_perplexity"] - 1
    )


def test_identical_perplexities_are_neither_best_nor_on_the_trade_off_nor_compared():
    same = {number: {"perplexity": 40.5} for number in (0, 2, 4, 6)}
    frame = tidy(clean(), same).reset_index()
    assert frame["speedup"].isna().all()
    assert frame["perplexity_increase"].isna().all()
    chosen = comparable.choose(frame)
    assert select_window_size(chosen).best is None
    assert set(pareto.frontier(pareto.select(chosen).rows)["method"]) == {"recompute"}


def test_the_lowest_usable_perplexity_is_the_best():
    lowest = {6: {"perplexity": 1.5, "parity_max_abs_diff": 0.5}}
    chosen = comparable.choose(tidy(clean(), lowest).reset_index())
    assert select_window_size(chosen).best["window_size"] == 128
