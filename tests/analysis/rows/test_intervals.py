"""Intervals: against an independent computation, and for what they promise."""

import math

import numpy as np
import pandas as pd
import pytest

from analysis.rows import blocks
from analysis.rows.frames import tidy
from analysis.rows.intervals import Interval, bounded_perplexity, increase, is_difference
from orchestrator.store.store import Store
from tests.support.analysis_rows import quickstart, row, table
from workers.contract.statistics import OVER_DOCUMENTS, OVER_PASSAGES, TOO_LITTLE

DOCUMENTS = np.repeat(np.arange(8), 25)


def sample(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    tokens = generator.integers(100, 257, len(DOCUMENTS)).astype(float)
    baseline = tokens * generator.normal(3, 0.5, len(DOCUMENTS))
    ours = baseline + tokens * generator.normal(0.01, 0.02, len(DOCUMENTS))
    return DOCUMENTS, ours, baseline, tokens


def test_the_increase_is_the_ratio_of_the_two_perplexities():
    document, ours, baseline, tokens = sample(1)
    both = (bounded_perplexity(document, nll, tokens) for nll in (ours, baseline))
    over, under = (one.value for one in both)
    assert increase(document, ours, baseline, tokens).value == pytest.approx(over / under - 1)


def test_the_bounds_are_those_of_a_mean_over_documents_in_plain_python():
    document, ours, baseline, tokens = sample(2)
    tokens[:] = 200  # equally long documents: the textbook's t interval
    found = increase(document, ours, baseline, tokens)
    means = [(ours - baseline)[document == one].sum() / (25 * 200) for one in range(8)]
    mean = math.fsum(means) / 8
    error = math.sqrt(math.fsum((one - mean) ** 2 for one in means) / 7 / 8)
    assert found.low == pytest.approx(math.expm1(mean - 2.364624 * error))
    assert found.high == pytest.approx(math.expm1(mean + 2.364624 * error))
    assert found.method == OVER_DOCUMENTS


def test_a_paired_interval_ignores_what_both_methods_share():
    document, ours, baseline, tokens = sample(3)
    shared = tokens * np.random.default_rng(9).normal(0, 5, len(tokens))
    plain = increase(document, ours, baseline, tokens)
    harder = increase(document, ours + shared, baseline + shared, tokens)
    assert harder.low == pytest.approx(plain.low)
    assert harder.high == pytest.approx(plain.high)


def test_too_little_text_has_no_interval():
    assert increase(np.zeros(1), np.ones(1), np.ones(1), np.ones(1)) is None


def test_equal_rows_differ_by_exactly_nothing_which_is_no_difference():
    document, _, baseline, tokens = sample(5)
    same = increase(document, baseline, baseline, tokens)
    assert same == Interval(0.0, 0.0, 0.0, OVER_DOCUMENTS)
    assert not is_difference(same)


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(0.1, 0.3, True), (-0.1, 0.3, False), (-0.3, -0.1, True)]
)
def test_a_difference_is_one_if_its_interval_excludes_zero(low, high, expected):
    assert is_difference(Interval(0.2, low, high)) is expected


def test_a_difference_without_an_interval_is_none():
    assert is_difference(None) is False


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


def test_the_bounds_of_the_block_bootstrap_are_replaced_by_todays():
    today = row(method="streaming")
    earlier = {"perplexity_low": 1.0, "perplexity_high": 99.0, "interval_method": None}
    stored = table([today | earlier, row(method="dense", max_tokens=400) | earlier])
    frame = tidy(stored)
    assert frame["perplexity_low"].isna().all(), "two kinds of interval never meet in a frame"
    shown = blocks.with_intervals(frame, blocks.from_table(stored))
    assert shown["perplexity_low"].iloc[0] == pytest.approx(today["perplexity_low"])
    assert shown["perplexity_high"].iloc[0] == pytest.approx(today["perplexity_high"])
    assert shown["interval_method"].tolist() == [OVER_PASSAGES, TOO_LITTLE]
    assert pd.isna(shown["perplexity_low"].iloc[1])


def test_rows_of_today_keep_their_bounds_without_their_blocks():
    today = row(method="streaming")
    shown = blocks.with_intervals(tidy(table([today])), {})
    assert shown["perplexity_low"].tolist() == [today["perplexity_low"]]
    assert shown["interval_method"].tolist() == [today["interval_method"]]


def leading(*shifts: float, noise: float = 0.001) -> blocks.Lead:
    """Who leads among rows whose losses differ by these shifts per token."""
    document, _, baseline, tokens = sample(6)
    own = np.random.default_rng(1)
    found = {
        name: blocks.RowBlocks(
            256,
            document,
            np.tile(np.arange(25.0), 8),
            tokens,
            baseline + tokens * own.normal(shift, noise, len(tokens)),
        )
        for name, shift in zip("abcdef", shifts, strict=False)
    }
    lowest = {name: float(one.nll.sum() / one.tokens.sum()) for name, one in found.items()}
    return blocks.lead(lowest, found)


def test_the_lowest_leads_alone_where_every_other_differs_beyond_its_interval():
    assert leading(0.02, 0.01, 0.03) == blocks.Lead("b", ())
    assert leading(0.02, 0.01, 0.03).is_alone


def test_the_lowest_is_tied_with_what_it_cannot_be_told_from():
    found = leading(0.02, 0.01, 0.0101, noise=0.01)
    assert {found.best, *found.tied} == {"b", "c"}
    assert not found.is_alone


def test_without_blocks_nothing_can_be_told_apart():
    assert blocks.lead({"a": 3.0, "b": 2.0}, {}) == blocks.Lead("b", ("a",), is_known=False)
    assert blocks.lead({}, {}) is None
