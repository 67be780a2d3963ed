"""Every supported family against the oracle, every unsupported one refused with its reason."""

from pathlib import Path

import pytest
import torch

from tests.support.families import NATIVE, REFUSED, SUPPORTED
from tests.support.models import random_ids, tiny, tiny_transformer
from tests.support.reference import rolling_cache_nll
from workers.attention.chunked import state_before
from workers.attention.ring import RingPass
from workers.attention.visibility import Visibility
from workers.contract.errors import UnsupportedModelError
from workers.contract.spec import EvalSpec
from workers.latency.replay import recorded
from workers.latency.steppers import RingStepper
from workers.quality.nll import stream_nll, token_nll
from workers.quality.selfcheck import self_check

DOCUMENT = Path(__file__).parents[3] / "docs" / "models.md"
STREAMING = Visibility(4, 28)
TOLERANCE = 1e-4

families = pytest.mark.parametrize(
    "family", SUPPORTED, ids=lambda family: f"{family.model_type}-{family.trait[:12]}"
)


def oracle(family, ids):
    dtype = torch.float32 if family.oracle_in_float32 else torch.float64
    original = tiny_transformer(family.model_type, **family.changes)
    return rolling_cache_nll(original, ids, 4, 28, dtype).float()


@families
def test_both_passes_of_a_family_equal_the_rolling_cache(family):
    loaded, ids = tiny(family.model_type, **family.changes), random_ids(220)
    expected = oracle(family, ids)
    for chunk in (1, 50, 4096):
        pieces = stream_nll(loaded.model, loaded.rotary, ids, STREAMING, chunk)
        actual = torch.cat([piece.nll for piece in pieces])
        torch.testing.assert_close(actual, expected, rtol=0, atol=TOLERANCE)
    span = range(100, 219)
    state = state_before(loaded.model, loaded.rotary, ids[:100], STREAMING)
    ring = RingPass(loaded.rotary, STREAMING, state, span, loaded.device)
    stepper = RingStepper(loaded, ids, span, ring)
    record = recorded(stepper, loaded.device, len(span))
    assert record is not None
    for way in (record, stepper):
        way.reset()
        for query in span:
            way.step()
            decoded = token_nll(way.logits[None], ids[query + 1 : query + 2])
            torch.testing.assert_close(decoded[0], expected[query], rtol=0, atol=TOLERANCE)


@families
def test_a_family_passes_the_self_check(family):
    spec = EvalSpec(model="demo", dataset="pydoc", method="streaming")
    assert self_check(tiny(family.model_type, **family.changes), spec) < 1e-4


@pytest.mark.parametrize(("model_type", "_examples", "_trait", "reason"), REFUSED)
def test_a_family_we_do_not_reproduce_is_refused_with_the_reason(
    model_type, _examples, _trait, reason
):
    spec = EvalSpec(model="demo", dataset="pydoc", method="streaming")
    with pytest.raises(UnsupportedModelError, match=reason):
        self_check(tiny(model_type), spec)


@pytest.mark.parametrize("method", ["streaming", "recompute"])
def test_a_budget_beyond_the_models_own_window_is_refused(method):
    loaded, ids = tiny("mistral", sliding_window=16), random_ids(100)
    with pytest.raises(UnsupportedModelError, match="own sliding window of 16"):
        list(stream_nll(loaded.model, loaded.rotary, ids, STREAMING))


def test_dense_attention_keeps_the_models_own_window():
    loaded, ids = tiny("mistral", sliding_window=16), random_ids(100)
    pieces = stream_nll(loaded.model, loaded.rotary, ids, Visibility(0, None), 30)
    actual = torch.cat([piece.nll for piece in pieces])
    model = tiny_transformer("mistral", sliding_window=16)
    logits = model(ids[None, :-1], use_cache=False).logits[0]
    torch.testing.assert_close(actual, token_nll(logits, ids[1:]), rtol=0, atol=TOLERANCE)


def table():
    """The matrix of docs/models.md, from the tables that the tests above run."""
    lines = [
        "| family | models | worth knowing | parallel | decode |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| `{family.model_type}` | {family.examples} | {family.trait} | tested | tested |"
        for family in SUPPORTED
    ]
    lines += [
        f"| `{family.model_type}` | {family.examples} | {family.trait} | token by token | tested |"
        for family in NATIVE
    ]
    lines += [
        f"| `{model_type}` | {examples} | {trait} | refused | refused |"
        for model_type, examples, trait, _ in REFUSED
    ]
    return "\n".join(lines)


def test_the_documented_matrix_is_the_tested_one():
    assert table() in DOCUMENT.read_text(), "write test_families.table() into docs/models.md"
