"""Intervals: against an independent computation, and for what they promise."""

import math
import random

import numpy as np
import pytest

from analysis.rows import blocks
from analysis.rows.intervals import Interval, increase, resampled_sums
from orchestrator.store.store import Store
from tests.support.analysis_rows import quickstart, row, table


def sample(seed: int, count: int = 200) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    tokens = generator.integers(100, 257, count).astype(float)
    baseline = tokens * generator.normal(3, 0.5, count)
    ours = baseline + tokens * generator.normal(0.01, 0.02, count)
    return ours, baseline, tokens


def by_hand(ours, baseline, tokens, resamples=4000) -> tuple[float, float]:
    """The same interval in plain Python with another generator."""
    draw = random.Random(5)
    places, values = range(len(tokens)), []
    for _ in range(resamples):
        chosen = draw.choices(places, k=len(tokens))
        nats = math.fsum(ours[i] - baseline[i] for i in chosen)
        values.append(math.exp(nats / math.fsum(tokens[i] for i in chosen)) - 1)
    values.sort()
    return values[int(0.025 * resamples)], values[int(0.975 * resamples)]


@pytest.mark.parametrize("seed", [1, 2])
def test_the_interval_is_the_one_an_independent_bootstrap_gives(seed):
    ours, baseline, tokens = sample(seed)
    found = increase(ours, baseline, tokens)
    low, high = by_hand(ours, baseline, tokens)
    width = high - low
    assert found.low == pytest.approx(low, abs=0.12 * width)
    assert found.high == pytest.approx(high, abs=0.12 * width)
    assert found.value == pytest.approx(math.exp((ours.sum() - baseline.sum()) / tokens.sum()) - 1)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    hits = 0
    for seed in range(200):
        generator = np.random.default_rng(seed)
        tokens = np.full(60, 256.0)
        baseline = tokens * generator.normal(3, 0.5, 60)
        ours = baseline + tokens * generator.normal(0.01, 0.02, 60)
        found = increase(ours, baseline, tokens)
        hits += found.low <= math.expm1(0.01) <= found.high
    assert 0.88 <= hits / 200 <= 0.99


def test_a_paired_interval_ignores_what_both_methods_share():
    ours, baseline, tokens = sample(3)
    shared = tokens * np.random.default_rng(9).normal(0, 5, len(tokens))
    plain, harder = (
        increase(ours, baseline, tokens),
        increase(ours + shared, baseline + shared, tokens),
    )
    assert harder.low == pytest.approx(plain.low)
    assert harder.high == pytest.approx(plain.high)


def test_the_same_blocks_are_drawn_whatever_they_hold():
    one, other = np.ones((50, 1)), np.arange(50.0)[:, None]
    both = resampled_sums(np.hstack([one, other]))
    assert (both[:, 1:] == resampled_sums(other)).all()
    assert (both[:, 0] == 50).all()


def test_an_interval_is_the_same_every_time():
    assert increase(*sample(4)) == increase(*sample(4))


def test_one_block_has_no_interval():
    assert increase(np.ones(1), np.ones(1), np.ones(1)) is None


def test_equal_rows_differ_by_exactly_nothing():
    _, baseline, tokens = sample(5)
    assert increase(baseline, baseline, tokens) == Interval(0.0, 0.0, 0.0)


def test_rows_with_other_blocks_have_no_paired_interval():
    rows = [row(method="streaming"), row(method="recompute", max_tokens=5000)]
    found = blocks.from_table(table(rows))
    assert blocks.difference(found, rows[0]["row_id"], rows[1]["row_id"]) is None


def test_a_missing_partner_has_no_interval():
    only = row(method="streaming")
    assert blocks.difference(blocks.from_table(table([only])), only["row_id"], None) is None


def test_blocks_are_read_for_the_rows_asked_for_and_no_others(tmp_path):
    rows = quickstart()
    store = Store(tmp_path)
    store.append_trials(rows[:10])
    store.append_trials(rows[10:])
    wanted = [rows[2]["row_id"], rows[20]["row_id"]]
    found = blocks.read(store, wanted)
    assert sorted(found) == sorted(wanted)
    assert found[wanted[0]].nll.tolist() == rows[2]["block_nll"]
    assert blocks.read(store, []) == {}


def test_blocks_survive_a_damaged_file(tmp_path):
    store, rows = Store(tmp_path), quickstart(["stdlib"])
    store.append_trials(rows)
    (tmp_path / "trials" / "part-broken-1.parquet").write_bytes(b"PAR1 not really")
    assert set(blocks.read(store, [rows[0]["row_id"]])) == {rows[0]["row_id"]}
