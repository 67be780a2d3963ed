"""The ring-buffer decode against the parallel pass, and what the timing reports."""

import math

import pytest
import torch

from tests.support.latency import latency_columns
from tests.support.models import random_ids, tiny
from workers.attention.chunked import state_before
from workers.attention.ring import RingPass
from workers.attention.visibility import DENSE, Visibility
from workers.contract.spec import EvalSpec
from workers.latency.measure import decode_latency, summary
from workers.latency.repeats import plan_decode
from workers.latency.steppers import RingStepper, WindowStepper
from workers.latency.timing import Timing
from workers.quality.nll import recompute_nll, stream_nll, token_nll

BUDGETS = [DENSE, Visibility(0, 16), Visibility(4, 16), Visibility(4, 60), Visibility(1, 0)]
LENGTH = 2 * (64 + 1)
"""Tokens after which the largest of these caches holds nothing of its first filling but sinks."""


def losses_of(stepper, ids, span):
    losses = []
    for query in span:
        stepper.step()
        losses.append(token_nll(stepper.logits[None], ids[query + 1 : query + 2]))
    return torch.cat(losses)


@pytest.mark.parametrize("visibility", BUDGETS, ids=str)
@pytest.mark.parametrize("start", [0, 1, 10, 70, 100])
@pytest.mark.parametrize("name", ["gpt_neox", "llama"])
def test_decoding_on_the_ring_equals_the_parallel_pass(name, start, visibility):
    loaded, ids = tiny(name), random_ids(LENGTH)
    pieces = stream_nll(loaded.model, loaded.rotary, ids, visibility)
    expected = torch.cat([piece.nll for piece in pieces])[start:]
    span = range(start, LENGTH - 1)
    state = state_before(loaded.model, loaded.rotary, ids[:start], visibility, chunk=33)
    ring = RingPass(loaded.rotary, visibility, state, span, loaded.device)
    stepper = RingStepper(loaded, ids, span, ring)
    first = losses_of(stepper, ids, span)
    torch.testing.assert_close(first, expected, rtol=0, atol=1e-4)
    stepper.reset()
    assert torch.equal(losses_of(stepper, ids, span), first)


@pytest.mark.parametrize("budget", [16, 500])
def test_decoding_by_recompute_equals_the_batched_windows(budget):
    loaded, ids = tiny("llama"), random_ids(80)
    pieces = recompute_nll(loaded.model, loaded.rotary, ids, budget)
    expected = torch.cat([piece.nll for piece in pieces])[10:]
    stepper = WindowStepper(loaded, ids, range(10, 79), budget)
    actual = losses_of(stepper, ids, range(10, 79))
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4)


def spec(method, **changes):
    fields = {"decode_tokens": 20, "warmup_tokens": 4, "repeats": 3, "n_sink": 2, "window_size": 30}
    return EvalSpec(model="demo", dataset="pydoc", method=method, **{**fields, **changes})


@pytest.mark.parametrize("method", ["dense", "streaming", "recompute"])
def test_every_method_is_timed_on_the_last_scored_positions(method):
    row = latency_columns(tiny("llama"), random_ids(100), spec(method))
    assert row["runtime_ms_min"] <= row["runtime_ms"] <= row["runtime_ms_max"]
    assert row["latency_ms_p50"] <= row["latency_ms_p90"] <= row["latency_ms_p99"]
    assert row["tokens_per_second"] == pytest.approx(20 / row["runtime_ms"] * 1e3)
    assert row["peak_memory_bytes"] is None
    assert (row["prefill_ms"] is None) == (method == "recompute")
    assert row["latency_full_budget"] is (None if method == "dense" else True)


def test_the_timed_queries_are_the_last_ones_after_the_warmup():
    plan = plan_decode(100, spec("streaming"))
    assert list(plan.span) == list(range(75, 99))
    assert plan.warmup + plan.timed == 24


def test_a_document_that_never_fills_the_cache_says_so():
    row = latency_columns(tiny("llama"), random_ids(100), spec("streaming", window_size=90))
    assert row["latency_full_budget"] is False


def test_a_document_too_short_has_no_latency_and_says_why():
    row = latency_columns(tiny("llama"), random_ids(24), spec("streaming"))
    assert row == {"latency_note": "longest document has 24 tokens, 25 are needed"}


def test_a_decode_reports_before_it_begins():
    first = next(decode_latency(tiny("llama"), random_ids(100), spec("streaming")))
    assert (first.tokens_done, first.repeat) == (0, 1)


def test_the_summary_pools_steps_and_takes_the_median_of_repeats():
    row = summary([Timing([1.0, 3.0], 4.5), Timing([2.0, 2.0], 4.1), Timing([9.0, 1.0], 10.5)], 2)
    assert math.isclose(row["latency_ms_mean"], 3.0)
    assert row["latency_ms_p50"] == 2.0
    assert (row["runtime_ms_min"], row["runtime_ms"], row["runtime_ms_max"]) == (4.1, 4.5, 10.5)
