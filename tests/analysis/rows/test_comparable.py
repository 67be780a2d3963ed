"""Which rows of a store stand in one figure, and which of several that say the same."""

from datetime import timedelta

import pytest

from analysis.rows import frames
from analysis.rows.comparable import Selection, choose
from tests.support.analysis_rows import START, row, table

LATER = START + timedelta(days=1)
OURS = {"method": "streaming", "window_size": 128}


def chosen(*rows: dict) -> Selection:
    return choose(frames.tidy(table(rows)))


def test_of_results_that_differ_in_a_seed_alone_the_latest_is_shown_and_the_others_are_counted():
    rows = [
        row(**OURS, seed=seed, changes={"finished_at": START + timedelta(hours=seed)})
        for seed in range(5)
    ]
    baseline = row(method="recompute", window_size=128)
    selection = chosen(baseline, *reversed(rows))
    assert set(selection.rows["row_id"]) == {baseline["row_id"], rows[-1]["row_id"]}
    assert selection.left_out == (("other_seed", 4),)


@pytest.mark.parametrize(
    "fields",
    [
        {"n_sink": 2},
        {"window_size": 60},
        {"max_tokens": 900, "dataset": "stdlib"},
        {"measure": ["quality"]},
        {"measure": ["latency"]},
    ],
    ids=str,
)
def test_what_differs_in_more_than_its_seed_is_shown(fields: dict):
    rows = [row(**OURS), row(**{**OURS, "seed": 1, **fields}, changes={"finished_at": LATER})]
    selection = chosen(*rows)
    assert set(selection.rows["row_id"]) == {one["row_id"] for one in rows}
    assert selection.left_out == ()


def test_what_another_device_measured_again_is_listed_once():
    there = {"device_name": "other", "finished_at": LATER}
    caches = [(method, w) for method in ("streaming", "recompute") for w in (128, 256)]
    rows = [row(method=m, window_size=w) for m, w in caches]
    again = [row(method=m, window_size=w, seed=1, changes=there) for m, w in caches[:3]]
    alone = row(method="streaming", window_size=64, changes=there)
    selection = chosen(*rows, *again, alone)
    assert set(selection.rows["row_id"]) == {one["row_id"] for one in (*rows, alone)}
    timed = selection.rows[selection.rows["runtime_ms"].notna()]
    assert set(timed["row_id"]) == {one["row_id"] for one in rows}
    assert dict(selection.left_out)["speed_elsewhere"] == 4


@pytest.mark.parametrize(
    "shared",
    [
        {**OURS, "dataset": "random", "max_tokens": 900},
        {**OURS, "model": "random:tiny"},
        {"method": "recompute", "window_size": 128, "recompute_blocks": 3},
    ],
    ids=str,
)
def test_a_seed_that_changes_the_result_makes_another_result(shared: dict):
    rows = [row(**shared, seed=seed) for seed in (0, 1)]
    assert set(chosen(*rows).rows["row_id"]) == {one["row_id"] for one in rows}
