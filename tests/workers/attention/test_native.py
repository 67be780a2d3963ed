"""Families that run token by token, against definitions that share nothing with the cache."""

import pytest
import torch

from benchmarks.families.replay import replayed_nll
from tests.support.families import NATIVE
from tests.support.latency import latency_columns
from tests.support.models import random_ids, tiny, tiny_transformer
from workers.attention.native import NativeDecoder, check_native
from workers.attention.visibility import DENSE, Visibility
from workers.contract.errors import UnsupportedModelError
from workers.contract.spec import EvalSpec
from workers.quality.nll import recompute_nll, stream_nll
from workers.quality.selfcheck import self_check

families = pytest.mark.parametrize(
    "family", NATIVE, ids=lambda f: "-".join([f.model_type, *f.changes])
)


def losses(subject, ids, visibility):
    pieces = stream_nll(subject.model, subject.rotary, ids, visibility)
    return torch.cat([piece.nll for piece in pieces])


def fresh_forwards(model, ids, budget):
    """`recompute`, with the library's default attention (its eager one counts ALiBi twice)."""
    logits = [
        model(ids[None, max(0, t - budget) : t + 1]).logits[0, -1] for t in range(len(ids) - 1)
    ]
    return torch.nn.functional.cross_entropy(torch.stack(logits), ids[1:], reduction="none")


@families
def test_without_eviction_the_loop_is_one_forward_of_the_library(family):
    subject, ids = tiny(family.model_type, **family.changes), random_ids(80)
    model = tiny_transformer(family.model_type, **family.changes)
    logits = model(ids[None, :-1]).logits[0]
    expected = torch.nn.functional.cross_entropy(logits, ids[1:], reduction="none")
    for visibility in (DENSE, Visibility(4, 100)):
        actual = losses(subject, ids, visibility)
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4)


@families
def test_with_one_layer_a_window_without_sinks_is_recompute(family):
    """With one layer a key carries nothing of the tokens before the window."""
    one = {"num_hidden_layers": 1}
    subject, ids = tiny(family.model_type, **{**family.changes, **one}), random_ids(120)
    model = tiny_transformer(family.model_type, **{**family.changes, **one})
    expected = fresh_forwards(model, ids, 20)
    torch.testing.assert_close(losses(subject, ids, Visibility(0, 20)), expected, rtol=0, atol=1e-4)


@families
def test_with_one_layer_sinks_and_window_are_a_shorter_text(family):
    """With one layer, streaming at t is a fresh forward over the sinks and the recent tokens."""
    one = {"num_hidden_layers": 1}
    subject, ids = tiny(family.model_type, **{**family.changes, **one}), random_ids(90)
    model = tiny_transformer(family.model_type, **{**family.changes, **one})
    actual = losses(subject, ids, Visibility(3, 20))
    for query in (10, 23, 24, 60, 88):
        recent = ids[max(3, query - 20) : query + 1]
        seen = torch.cat([ids[:3], recent])
        logits = model(seen[None]).logits[0, -1]
        expected = torch.nn.functional.cross_entropy(logits, ids[query + 1])
        torch.testing.assert_close(actual[query], expected, rtol=0, atol=1e-4)


@families
def test_recompute_is_a_fresh_forward_for_every_token(family):
    subject, ids = tiny(family.model_type, **family.changes), random_ids(60)
    model = tiny_transformer(family.model_type, **family.changes)
    expected = fresh_forwards(model, ids, 16)
    pieces = recompute_nll(subject.model, subject.rotary, ids, 16)
    actual = torch.cat([piece.nll for piece in pieces])
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4)


@families
def test_the_self_check_passes_and_has_no_second_pass_to_compare(family):
    spec = EvalSpec(model="demo", dataset="pydoc", method="streaming")
    assert self_check(tiny(family.model_type, **family.changes), spec) is None


@pytest.mark.parametrize("method", ["dense", "streaming", "recompute"])
def test_decoding_is_timed(method):
    spec = EvalSpec(
        model="demo",
        dataset="pydoc",
        method=method,
        window_size=30,
        decode_tokens=8,
        warmup_tokens=2,
        repeats=2,
    )
    row = latency_columns(tiny("falcon"), random_ids(80), spec)
    assert row["runtime_ms"] > 0


def test_going_back_to_a_snapshot_repeats_the_decode():
    subject, ids = tiny("falcon"), random_ids(60)
    decoder = NativeDecoder(subject.model, Visibility(2, 20), subject.device)
    for token in ids[:40, None]:
        decoder.step(token)
    snapshot = decoder.snapshot()
    first = torch.stack([decoder.step(token) for token in ids[40:, None]])
    decoder.restore(snapshot)
    assert torch.equal(torch.stack([decoder.step(token) for token in ids[40:, None]]), first)


def test_keys_that_are_placed_otherwise_are_refused(monkeypatch):
    """An interleaved rotation would pass a comparison without eviction, and fail this one."""
    subject = tiny("falcon")
    original = NativeDecoder.__init__

    def misplaced(self, *arguments):
        original(self, *arguments)
        self._back = type(self._back)(self._back.cos, -self._back.sin)

    monkeypatch.setattr(NativeDecoder, "__init__", misplaced)
    with pytest.raises(UnsupportedModelError, match="the rotation we know or by ALiBi"):
        check_native(subject.model, subject.vocab_size, subject.device)


@pytest.mark.parametrize(
    ("model_type", "changes"),
    [("mpt", {"max_seq_len": 20}), ("gptj", {"n_positions": 20})],
)
def test_a_model_that_is_shorter_than_the_check_is_checked_within_its_length(model_type, changes):
    spec = EvalSpec(model="demo", dataset="pydoc", method="streaming")
    assert self_check(tiny(model_type, **changes), spec) is None
    subject, ids = tiny(model_type, **changes), random_ids(20)
    expected = replayed_nll(tiny_transformer(model_type, **changes), ids, 2, 9)
    actual = losses(subject, ids, Visibility(2, 9)).double()
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4)


def test_more_positions_than_a_table_of_sines_holds_are_refused():
    subject = tiny("gptj", n_positions=64)
    with pytest.raises(UnsupportedModelError, match="table of 64 positions"):
        losses(subject, random_ids(80), Visibility(4, 60))
    losses(subject, random_ids(80), Visibility(4, 59))


@pytest.mark.parametrize("rope_type", ["dynamic", "longrope"])
def test_frequencies_that_change_with_the_length_are_refused_from_there_on(rope_type):
    """Cached keys would keep the turns of a shorter text: off by 1.2 and 3.0 nats."""
    factors = {"short_factor": [1.0] * 8, "long_factor": [3.0] * 8}
    settings = {"rope_type": rope_type, "rope_theta": 10000.0, "factor": 3.0}
    if rope_type == "longrope":
        settings |= {**factors, "original_max_position_embeddings": 64}
    changes = {"rope_parameters": settings, "max_position_embeddings": 64}
    subject, ids = tiny("falcon", **changes), random_ids(90)
    for visibility in (Visibility(4, 60), DENSE):
        with pytest.raises(UnsupportedModelError, match="otherwise from position 64 on"):
            losses(subject, ids, visibility)
    with pytest.raises(UnsupportedModelError, match="otherwise from position 64 on"):
        list(recompute_nll(subject.model, subject.rotary, ids, 64))
    expected = replayed_nll(tiny_transformer("falcon", **changes), ids, 4, 59)
    actual = losses(subject, ids, Visibility(4, 59)).double()
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4)
