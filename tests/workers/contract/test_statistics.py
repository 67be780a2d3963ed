"""Blocks, perplexities and intervals against slow, obvious versions."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.contract.statistics import (
    BASE_BLOCK,
    MAX_BLOCKS,
    NEIGHBOURS,
    OVER_DOCUMENTS,
    OVER_PASSAGES,
    bits_per_byte,
    block_sums,
    mean_interval,
    merge_blocks,
    perplexity,
    perplexity_interval,
    t_quantile,
)


def part(document, start, losses):
    queries = np.arange(start, start + len(losses))
    return {"document": document, "start": start, **block_sums(queries, np.asarray(losses))}


def test_blocks_are_consecutive_runs_of_256_scored_tokens():
    losses = np.random.default_rng(0).random(1000)
    blocks = merge_blocks([part(0, 0, losses)])
    assert blocks.size == BASE_BLOCK
    assert blocks.tokens.tolist() == [256, 256, 256, 232]
    expected = [math.fsum(losses[i : i + 256]) for i in range(0, 1000, 256)]
    assert blocks.nll.tolist() == pytest.approx(expected, rel=1e-12)


@given(st.lists(st.integers(0, 1000), max_size=5))
def test_any_split_into_parts_gives_the_same_blocks(cuts):
    losses = np.random.default_rng(1).random(1000)
    edges = sorted({0, 1000, *cuts})
    pieces = [part(0, a, losses[a:b]) for a, b in itertools.pairwise(edges)]
    whole, split = merge_blocks([part(0, 0, losses)]), merge_blocks(pieces)
    assert split.tokens.tolist() == whole.tokens.tolist()
    assert split.nll.tolist() == pytest.approx(whole.nll.tolist(), rel=1e-12)


def test_the_block_size_doubles_until_a_row_has_few_enough():
    n_blocks = 3 * MAX_BLOCKS
    losses = np.ones(n_blocks * BASE_BLOCK + 7)
    blocks = merge_blocks([part(0, 0, losses)])
    assert blocks.size == 4 * BASE_BLOCK
    assert len(blocks.nll) <= MAX_BLOCKS
    assert blocks.tokens.sum() == len(losses)
    assert math.fsum(blocks.nll) == len(losses)


def test_more_documents_than_blocks_keep_one_block_each():
    blocks = merge_blocks([part(document, 0, [1.0, 2.0]) for document in range(MAX_BLOCKS + 5)])
    assert len(blocks.nll) == MAX_BLOCKS + 5
    assert set(blocks.nll) == {3.0}


def test_documents_do_not_share_blocks():
    blocks = merge_blocks([part(0, 0, [1.0] * 10), part(1, 0, [2.0] * 20)])
    assert blocks.document.tolist() == [0, 1]
    assert blocks.nll.tolist() == [10.0, 40.0]


def test_quantiles_are_those_of_the_published_table():
    published = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 7: 2.365, 30: 2.042, 31: 2.040}
    for freedom, quantile in published.items():
        assert t_quantile(freedom) == pytest.approx(quantile, abs=5e-4)
    assert t_quantile(4095) == pytest.approx(1.9605, abs=1e-4)


@pytest.mark.parametrize("freedom", [3, 6, 17])
def test_a_quantile_leaves_a_fortieth_of_the_density_above(freedom):
    scale = math.gamma((freedom + 1) / 2) / math.gamma(freedom / 2) / math.sqrt(freedom * math.pi)
    points = np.linspace(0, t_quantile(freedom), 20_001)
    density = scale * (1 + points**2 / freedom) ** (-(freedom + 1) / 2)
    inside = float(((density[1:] + density[:-1]) / 2 * np.diff(points)).sum())
    assert inside == pytest.approx(0.475, abs=1e-6)


def plain_jackknife(sums, tokens):
    """Margin of a ratio of sums by leaving clusters out, in plain Python."""
    n, ratio = len(sums), sum(sums) / sum(tokens)
    left = [
        sum(s for j, s in enumerate(sums) if j != i)
        / sum(t for j, t in enumerate(tokens) if j != i)
        for i in range(n)
    ]
    return math.sqrt((n - 1) / n * sum((one - ratio) ** 2 for one in left))


def test_from_four_documents_on_the_document_is_the_unit():
    document = np.repeat([0, 2, 5, 9, 11], [3, 1, 4, 2, 5])
    values = np.random.default_rng(4).normal(600, 80, 15)
    tokens = np.random.default_rng(5).integers(20, 257, 15)
    found = mean_interval(document, values, tokens)
    sums = [values[document == one].sum() for one in np.unique(document)]
    counts = [tokens[document == one].sum() for one in np.unique(document)]
    assert found.method == OVER_DOCUMENTS
    assert found.value == pytest.approx(values.sum() / tokens.sum())
    assert found.margin == pytest.approx(t_quantile(4) * plain_jackknife(sums, counts))


def test_with_fewer_the_unit_is_a_long_stretch_and_what_neighbours_share_is_added():
    values = np.random.default_rng(6).normal(600, 80, 8)
    found = mean_interval(np.zeros(8), values, np.full(8, 256))
    pairs = [values[i] + values[i + 1] for i in range(0, 8, 2)]
    shared = (3 * NEIGHBOURS + 2 * NEIGHBOURS**2 + NEIGHBOURS**3) / 6
    factor = math.sqrt((1 + 3 * shared) / (1 - shared))
    expected = t_quantile(3) * plain_jackknife(pairs, [512] * 4) * factor
    assert (found.method, found.margin) == (OVER_PASSAGES, pytest.approx(expected))


def test_a_short_document_beside_a_long_one_has_no_part_in_the_freedom():
    values = np.random.default_rng(7).normal(600, 80, 404)
    document = np.repeat([0, 1], [400, 4])
    tokens = np.full(404, 256)
    both, alone = (
        mean_interval(document, values, tokens),
        mean_interval(document[:400], values[:400], tokens[:400]),
    )
    assert both.margin == pytest.approx(alone.margin, rel=0.05)


@pytest.mark.parametrize(
    ("document", "tokens"),
    [([0], [50]), ([0] * 4, [256, 256, 256, 100]), ([0, 0, 1, 1], [256] * 4)],
)
def test_too_little_text_has_no_interval_and_says_so(document, tokens):
    nll = np.linspace(500, 600, len(tokens))
    assert perplexity_interval(np.array(document), nll, np.array(tokens)) == (None, None, "none")


def text(generator, lengths):
    """Blocks of documents: a document effect, a drift along each, and noise; true mean 2.5."""
    values = []
    for length in lengths:
        drift, at = [], generator.normal(0, 0.15)
        for _ in range(length):
            at = 0.8 * at + generator.normal(0, 0.09)
            drift.append(at)
        values.append(
            2.5 + generator.normal(0, 0.25) + np.array(drift) + generator.normal(0, 0.2, length)
        )
    return np.repeat(np.arange(len(lengths)), lengths), np.concatenate(values) * 256


@pytest.mark.parametrize("documents", [4, 8, 16])
def test_nineteen_of_twenty_intervals_cover_where_documents_differ(documents):
    generator, hits, draws = np.random.default_rng(documents), 0, 600
    for _ in range(draws):
        document, nll = text(generator, generator.integers(2, 40, documents))
        low, high, _ = perplexity_interval(document, nll, np.full(len(nll), 256))
        hits += low <= math.exp(2.5) <= high
    assert 0.90 <= hits / draws <= 0.99


def test_most_intervals_within_a_document_cover_its_own_perplexity():
    generator, hits, draws = np.random.default_rng(1), 0, 600
    for _ in range(draws):
        _, nll = text(generator, [300])
        start = generator.integers(0, 288)
        excerpt = nll[start : start + 12]
        low, high, method = perplexity_interval(np.zeros(12), excerpt, np.full(12, 256))
        assert method == OVER_PASSAGES
        hits += low <= math.exp(nll.mean() / 256) <= high
    assert 0.88 <= hits / draws <= 0.99


def test_nothing_scored_is_null():
    assert perplexity(0.0, 0) is None
    assert bits_per_byte(10.0, None) is None


def test_bits_per_byte_of_a_fair_coin_per_byte():
    assert bits_per_byte(100 * math.log(2), 100) == pytest.approx(1.0)
