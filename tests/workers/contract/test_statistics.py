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
    bits_per_byte,
    block_sums,
    merge_blocks,
    perplexity,
    perplexity_interval,
)


def part(document, start, losses):
    return {"document": document, "start": start, **block_sums(start, np.asarray(losses))}


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


def test_the_interval_agrees_with_a_plain_bootstrap():
    rng = np.random.default_rng(3)
    tokens = np.full(40, 256)
    nll = rng.normal(2.0, 0.3, 40) * tokens
    low, high = perplexity_interval(nll, tokens, seed=0)
    plain = []
    for _ in range(4000):
        chosen = rng.choice(40, 40)
        plain.append(math.exp(nll[chosen].sum() / tokens[chosen].sum()))
    assert low == pytest.approx(np.quantile(plain, 0.025), rel=0.02)
    assert high == pytest.approx(np.quantile(plain, 0.975), rel=0.02)
    assert low < math.exp(nll.sum() / tokens.sum()) < high


def test_the_interval_is_the_same_for_a_seed_and_moves_with_it():
    nll, tokens = np.arange(1.0, 30.0) * 300, np.full(29, 256)
    assert perplexity_interval(nll, tokens, 1) == perplexity_interval(nll, tokens, 1)
    assert perplexity_interval(nll, tokens, 1) != perplexity_interval(nll, tokens, 2)


def test_one_block_has_no_interval():
    assert perplexity_interval([100.0], [50], 0) == (None, None)


def test_nothing_scored_is_null():
    assert perplexity(0.0, 0) is None
    assert bits_per_byte(10.0, None) is None


def test_bits_per_byte_of_a_fair_coin_per_byte():
    assert bits_per_byte(100 * math.log(2), 100) == pytest.approx(1.0)
