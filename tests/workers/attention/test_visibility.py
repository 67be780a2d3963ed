"""Visibility, eviction and windows against brute force over the definition."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workers.attention.visibility import (
    DENSE,
    Visibility,
    additive_mask,
    compression_ratio,
    evicted_tokens,
    layer_visibility,
    recompute_windows,
)

sizes = st.integers(0, 12)
budgets = st.tuples(sizes, sizes).filter(lambda pair: sum(pair) > 0)


def visible_by_definition(query, n_sink, window_size):
    """DESIGN of the method, written out: all keys until t = B, then sinks and window."""
    if query <= n_sink + window_size:
        return set(range(query + 1))
    return set(range(n_sink)) | set(range(max(n_sink, query - window_size), query + 1))


@given(budgets, st.integers(0, 60))
def test_a_query_sees_exactly_the_keys_of_the_definition(budget, query):
    visibility = Visibility(*budget)
    seen = {key for key in range(70) if visibility.sees(query, key)}
    assert seen == visible_by_definition(query, *budget)


@given(budgets, st.integers(0, 60))
def test_a_query_sees_its_whole_past_or_a_full_budget_and_itself(budget, query):
    visibility = Visibility(*budget)
    seen = sum(visibility.sees(query, key) for key in range(query + 1))
    assert seen == min(query, sum(budget)) + 1


@given(budgets, st.integers(0, 60))
def test_keys_are_evicted_for_good(budget, query):
    visibility = Visibility(*budget)
    for key in range(query + 1):
        if not visibility.sees(query, key):
            assert not visibility.sees(query + 1, key)


@given(budgets, st.integers(1, 60))
def test_the_oldest_recent_key_is_the_first_one_behind_the_sinks(budget, query):
    visibility = Visibility(*budget)
    recent = [k for k in range(budget[0], query + 1) if visibility.sees(query, k)]
    expected = min(recent) if recent else query
    assert visibility.oldest_recent(query) == expected


@given(st.integers(0, 60), st.integers(0, 60))
def test_dense_attention_sees_every_earlier_key(query, key):
    assert DENSE.sees(query, key) == (key <= query)


@given(budgets, st.lists(st.integers(1, 80), min_size=1, max_size=4))
def test_evicted_tokens_are_those_some_query_no_longer_sees(budget, lengths):
    visibility = Visibility(*budget)
    missed = 0
    for length in lengths:
        last_query = length - 2
        # Eviction follows the forward of the last scored query, too.
        keys = range(max(0, last_query + 1))
        missed += sum(not visibility.sees(last_query + 1, key) for key in keys)
    assert evicted_tokens(lengths, sum(budget)) == missed


def test_compression_counts_what_the_cache_holds_at_the_end():
    assert compression_ratio([100, 10], budget=20) == pytest.approx(1 - 30 / 110)
    assert compression_ratio([10], budget=20) == 0


@given(st.integers(1, 90), st.integers(1, 20), st.data())
def test_windows_score_every_query_once_with_at_most_the_budget_before_it(queries, budget, data):
    stride = data.draw(st.integers(1, budget + 1))
    scored = []
    for first, end, start in recompute_windows(queries, budget, stride):
        assert first <= start < end
        assert end - first <= budget + 1
        scored += range(start, end)
    assert scored == list(range(queries))


@given(st.integers(1, 90), st.integers(1, 20), st.integers(0, 89))
def test_windows_from_a_query_on_are_those_that_score_it_and_what_follows(queries, budget, start):
    start = min(start, queries)
    scored = []
    for first, end, query in recompute_windows(queries, budget, 1, start):
        assert first == max(0, end - 1 - budget)
        assert end - query == 1 or end <= budget + 1
        scored += range(query, end)
    assert scored == list(range(start, queries))


@given(st.integers(1, 90), st.integers(1, 20))
def test_windows_of_stride_one_hold_the_full_budget(queries, budget):
    for first, end, start in recompute_windows(queries, budget, 1)[1:]:
        assert (end - first, end - start) == (budget + 1, 1)


def in_cache(position, query, n_sink, window_size):
    """Where a visible key stands in the cache, counted from its oldest entry."""
    return sorted(visible_by_definition(query, n_sink, window_size)).index(position)


@given(budgets, st.integers(1, 30), st.integers(0, 60))
def test_a_layers_own_window_is_counted_in_the_cache(budget, own_window, query):
    rule = layer_visibility(Visibility(*budget), own_window)
    seen = {key for key in range(70) if rule.sees(query, key)}
    own = in_cache(query, query, *budget)
    assert seen == {
        key
        for key in visible_by_definition(query, *budget)
        if own - in_cache(key, query, *budget) < own_window
    }


@given(budgets, st.integers(1, 30))
def test_the_mask_of_an_own_window_is_its_rule(budget, own_window):
    rule = layer_visibility(Visibility(*budget), own_window)
    positions = torch.arange(40)
    mask = additive_mask(positions, positions, rule, torch.float32)
    assert (mask == 0).tolist() == [[rule.sees(q, k) for k in range(40)] for q in range(40)]


@given(budgets, st.integers(1, 30))
def test_the_first_restricted_query_is_the_first_that_misses_a_key(budget, own_window):
    rule = layer_visibility(Visibility(*budget), own_window)
    first = next(q for q in range(70) if not all(rule.sees(q, k) for k in range(q + 1)))
    assert rule.first_restricted() == first


@given(st.integers(1, 30), st.integers(0, 60), st.integers(0, 60))
def test_dense_attention_keeps_a_layers_own_window(own_window, query, key):
    assert layer_visibility(DENSE, own_window).sees(query, key) == (0 <= query - key < own_window)
