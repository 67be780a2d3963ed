"""The parallel pass against the token-by-token oracle, and what must follow from it."""

import functools

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.support.models import demo, random_ids, tiny, tiny_transformer
from tests.support.reference import native, recomputed_nll, rolling_cache_nll
from workers.attention.visibility import DENSE, Visibility
from workers.contract.errors import NumericalError
from workers.contract.spec import EvalSpec
from workers.models.presets import DEMO_FOLDER
from workers.quality.nll import recompute_nll, stream_nll
from workers.texts.tokens import tokenised_documents

TOLERANCE = 1e-4  # nats per token, float32
LONG, SHORTER = 2201, 421
"""Tokens: two thousand evictions, or hundreds; more than a chunk of 256 either way."""
THOUSANDS = (("demo", 4, 128), ("llama", 4, 128))
"""A trained model on text, and the other family: a loop in float64 takes its time."""
CHUNKS = (37, 256, 4096)


def parallel(loaded, ids, visibility, chunk=256):
    pieces = stream_nll(loaded.model, loaded.rotary, ids, visibility, chunk)
    return torch.cat([piece.nll for piece in pieces])


@functools.cache
def demo_original():
    return AutoModelForCausalLM.from_pretrained(DEMO_FOLDER, dtype=torch.float32)


@functools.cache
def demo_text():
    spec = EvalSpec(model="demo", dataset="pydoc", method="dense", max_tokens=LONG)
    ids = tokenised_documents(spec, demo())[0].ids
    assert len(ids) == LONG
    return ids


def subject(name):
    """(our model, the library's own model, ids of a long document)."""
    if name == "demo":
        return demo(), demo_original(), demo_text()
    return tiny(name), tiny_transformer(name), random_ids(LONG)


@pytest.mark.parametrize("window_size", [16, 128])
@pytest.mark.parametrize("n_sink", [0, 1, 4])
@pytest.mark.parametrize("name", ["demo", "gpt_neox", "llama"])
def test_parallel_streaming_equals_the_rolling_cache_over_many_evictions(name, n_sink, window_size):
    ours, original, ids = subject(name)
    if (name, n_sink, window_size) not in THOUSANDS:
        ids = ids[:SHORTER]
    expected = rolling_cache_nll(original, ids, n_sink, window_size)
    for chunk in CHUNKS:
        actual = parallel(ours, ids, Visibility(n_sink, window_size), chunk)
        torch.testing.assert_close(actual.double(), expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("n_sink", "window_size"), [(1, 0), (4, 0), (0, 1), (2, 1), (500, 3), (3, 500)]
)
@pytest.mark.parametrize("name", ["gpt_neox", "llama"])
def test_extreme_budgets_equal_the_rolling_cache(name, n_sink, window_size):
    ids = random_ids(200)
    expected = rolling_cache_nll(tiny_transformer(name), ids, n_sink, window_size)
    for chunk in (1, 7, 1000):
        actual = parallel(tiny(name), ids, Visibility(n_sink, window_size), chunk)
        torch.testing.assert_close(actual.double(), expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", ["gpt_neox", "llama"])
def test_dense_equals_one_forward_of_the_library(name):
    ids = random_ids(300)
    logits = native(tiny_transformer(name), torch.float64)(ids[None, :-1]).logits[0]
    expected = torch.nn.functional.cross_entropy(logits, ids[1:], reduction="none")
    for chunk in CHUNKS:
        actual = parallel(tiny(name), ids, DENSE, chunk)
        torch.testing.assert_close(actual.double(), expected, rtol=0, atol=TOLERANCE)


def test_a_window_that_covers_the_text_is_dense():
    ids = random_ids(150)
    covered = parallel(tiny("llama"), ids, Visibility(4, 200))
    torch.testing.assert_close(covered, parallel(tiny("llama"), ids, DENSE), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["gpt_neox", "llama"])
def test_with_one_layer_a_window_without_sinks_is_recompute(name):
    """With one layer a key carries nothing of the tokens before the window."""
    loaded, ids = tiny(name, num_hidden_layers=1), random_ids(200)
    recomputed = recompute_nll(loaded.model, loaded.rotary, ids, 20)
    expected = torch.cat([piece.nll for piece in recomputed])
    actual = parallel(loaded, ids, Visibility(0, 20))
    torch.testing.assert_close(actual, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("batch_tokens", [1, 100, 5000])
@pytest.mark.parametrize("budget", [1, 16, 60, 500])
@pytest.mark.parametrize("name", ["gpt_neox", "llama"])
def test_recompute_equals_a_fresh_forward_for_every_token(name, budget, batch_tokens):
    ids, loaded = random_ids(120), tiny(name)
    expected = recomputed_nll(tiny_transformer(name), ids, budget, range(len(ids) - 1))
    pieces = recompute_nll(loaded.model, loaded.rotary, ids, budget, batch_tokens=batch_tokens)
    actual = torch.cat([piece.nll for piece in pieces])
    torch.testing.assert_close(actual.double(), expected, rtol=0, atol=TOLERANCE)


def test_a_stride_scores_the_last_tokens_of_each_window():
    ids, loaded = random_ids(100), tiny("llama")
    pieces = recompute_nll(loaded.model, loaded.rotary, ids, 20, stride=7)
    actual = torch.cat([piece.nll for piece in pieces])
    model = native(tiny_transformer("llama"), torch.float64)
    # Query 30 lies in the window that ends at 34 = 20 + 2 * 7 and starts at 34 - 20.
    logits = model(ids[None, 14:35]).logits[0]
    expected = torch.nn.functional.cross_entropy(logits, ids[15:36], reduction="none")
    torch.testing.assert_close(actual[28:35].double(), expected[-7:], rtol=0, atol=TOLERANCE)


def test_recompute_in_two_spans_is_recompute_in_one():
    ids, loaded = random_ids(300), tiny("gpt_neox")

    def losses(span):
        pieces = recompute_nll(loaded.model, loaded.rotary, ids, 30, batch_tokens=310, span=span)
        return [piece.nll for piece in pieces]

    whole = torch.cat(losses(range(299)))
    halves = torch.cat(losses(range(141)) + losses(range(141, 299)))
    torch.testing.assert_close(halves, whole, rtol=0, atol=1e-5)


def test_evicting_one_token_too_early_is_noticed():
    """The comparison above can fail: a window shorter by one gives other losses."""
    ids = random_ids(400)
    right = parallel(tiny("llama"), ids, Visibility(4, 60))
    wrong = parallel(tiny("llama"), ids, Visibility(4, 59))
    assert torch.equal(right[:64], wrong[:64])
    assert (right[64:] - wrong[64:]).abs().max() > 100 * TOLERANCE


VOCABULARY_WITH_NAN = 98


def test_nan_in_the_activations_names_the_tokens():
    loaded = tiny("gpt_neox", vocab_size=VOCABULARY_WITH_NAN)
    loaded.model.get_input_embeddings().weight[VOCABULARY_WITH_NAN - 1] = float("nan")
    ids = random_ids(50)
    ids[20] = VOCABULARY_WITH_NAN - 1
    with pytest.raises(NumericalError, match="tokens 17 to 24"):
        parallel(loaded, ids, DENSE, chunk=8)
