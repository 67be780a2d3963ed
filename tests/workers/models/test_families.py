"""A type for every mechanism against the oracle, others refused with their reason."""

import json
import re
from pathlib import Path

import pytest
import torch

from benchmarks.families.census import in_bfloat16, judge, load_tiny, random_ids
from benchmarks.families.document import SUPPORTED, tables
from benchmarks.families.replay import replayed_nll
from benchmarks.families.tiny import MODEL_TYPES, tiny_model
from tests.support.families import NATIVE, REFUSED, REPRESENTATIVES
from tests.support.models import tiny, tiny_transformer
from tests.support.reference import rolling_cache_nll
from workers.attention.visibility import DENSE, Visibility
from workers.contract.errors import UnsupportedModelError
from workers.contract.spec import EvalSpec
from workers.quality.nll import recompute_nll, stream_nll
from workers.quality.selfcheck import self_check

ROOT = Path(__file__).parents[3]
RECORD = json.loads((ROOT / "benchmarks" / "families" / "census.json").read_text())
SPEC = EvalSpec(model="demo", dataset="pydoc", method="streaming")


def losses(loaded, ids, visibility, chunk=50):
    pieces = stream_nll(loaded.model, loaded.rotary, ids, visibility, chunk)
    return torch.cat([piece.nll for piece in pieces]).double()


@pytest.mark.parametrize("model_type", REPRESENTATIVES)
def test_a_type_is_exact_in_both_passes_at_every_threshold_and_in_every_precision(model_type):
    """Per token, over own windows of 100, in three chunk sizes, decoded, dense and recomputed."""
    verdict = judge(model_type)
    assert verdict.status == "exact", verdict
    assert verdict.difference < 1e-4 or verdict.difference < 8 * verdict.noise < 8e-3


def test_the_oracle_is_the_rolling_cache_of_the_papers_authors():
    """Two computations that share nothing: kept hidden states, and rotated-back cached keys."""
    model, ids = tiny_transformer("llama"), random_ids(90)
    replayed = replayed_nll(model, ids, 3, 20)
    expected = rolling_cache_nll(model, ids, 3, 20)
    # transformers' own angles are float32 in every precision
    torch.testing.assert_close(replayed, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("model_type", ["granitemoehybrid", "bamba", "qwen3_next"])
def test_a_cache_shorter_than_the_memory_of_a_state_is_exact(model_type):
    """The oracle had let some states see the cache alone, which longer caches hide."""
    model, ids = tiny_transformer(model_type), random_ids(40)
    expected = replayed_nll(model, ids, 1, 4)
    actual = losses(tiny(model_type), ids, Visibility(1, 4), chunk=7)
    torch.testing.assert_close(actual, expected, rtol=0, atol=5e-4)


@pytest.mark.parametrize(("model_type", "reason"), REFUSED.items())
def test_a_type_we_do_not_reproduce_is_refused_with_the_reason(model_type, reason):
    with pytest.raises(UnsupportedModelError, match=reason):
        self_check(load_tiny(tiny_model(model_type)), SPEC)


@pytest.mark.parametrize("model_type", ["hunyuan_v1_dense", "beam", "llama4_text"])
def test_half_precision_on_little_memory_refuses_the_same(model_type):
    with pytest.raises(UnsupportedModelError):
        self_check(load_tiny(in_bfloat16(tiny_model(model_type))), SPEC, free_bytes=0)


@pytest.mark.parametrize(("own_window", "seen"), [(20, "no sink"), (29, "one"), (31, "some")])
def test_a_budget_beyond_the_models_own_window_counts_it_in_the_cache(own_window, seen):
    """W + 1 = 29 and B = 32: a window without sinks, and masks by in-cache distance."""
    ids, changes = random_ids(100), {"sliding_window": own_window}
    expected = replayed_nll(tiny_transformer("mistral", **changes), ids, 4, 28)
    for chunk in (1, 13, 4096):
        actual = losses(tiny("mistral", **changes), ids, Visibility(4, 28), chunk)
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4)


def test_recompute_beyond_the_models_own_window_needs_no_rule():
    ids, changes = random_ids(60), {"sliding_window": 16}
    own = tiny_transformer("mistral", **changes).double()
    windows = ids[:-1].unfold(0, 31, 1)
    logits = own(windows, use_cache=False).logits
    logits = torch.cat([logits[0], logits[1:, -1]])
    expected = torch.nn.functional.cross_entropy(logits, ids[1:], reduction="none")
    own.float()
    loaded = tiny("mistral", **changes)
    pieces = recompute_nll(loaded.model, loaded.rotary, ids, 30)
    actual = torch.cat([piece.nll for piece in pieces]).double()
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("visibility", [Visibility(4, 96), DENSE])
def test_more_positions_than_a_placement_holds_for_are_refused(visibility):
    loaded, ids = tiny("phi3"), random_ids(130)
    assert loaded.rotary.limit == 100
    with pytest.raises(UnsupportedModelError, match="from position 100 on"):
        losses(loaded, ids, visibility)
    losses(loaded, ids, Visibility(4, 95))


def test_cache_bytes_are_those_of_every_layers_own_cache():
    gemma, latent = tiny("gemma4_text"), tiny("deepseek_v3")
    assert [layer.shared for layer in gemma.layers] == [False] * 4 + [True] * 2
    per_token = 2 * 2 * (16 + 32) * 4
    assert gemma.kv_cache_bytes(50) == 2 * 50 * per_token
    assert gemma.kv_cache_bytes(1000) == 2 * (1000 * 2 * 2 * 32 + 99 * 2 * 2 * 16) * 4
    assert latent.kv_cache_bytes(10) == 4 * 10 * (32 + 8) * 4


def test_every_type_of_transformers_ended_in_a_verdict():
    found = {entry["model_type"]: entry["status"] for entry in RECORD["types"]}
    assert list(found) == list(MODEL_TYPES)
    assert set(found.values()) <= {*SUPPORTED, "refused", "not built"}
    assert sum(status in SUPPORTED for status in found.values()) >= 100


def test_no_reason_is_what_some_code_raised():
    raised = re.compile(r"Error|Exception|has no attribute|out of bounds|number of dimensions")
    assert [found["reason"] for found in RECORD["types"] if raised.search(found["reason"])] == []


def test_the_types_tested_here_ended_like_that_in_the_census():
    found = {entry["model_type"]: entry["status"] for entry in RECORD["types"]}
    assert {found[model_type] for model_type in REPRESENTATIVES} == {"exact"}
    assert {found[family.model_type] for family in NATIVE} == {"token by token"}
    assert {found[model_type] for model_type in REFUSED} == {"refused"}


def test_the_documented_table_is_what_the_census_wrote():
    document = (ROOT / "docs" / "models.md").read_text()
    assert tables(RECORD) in document, "run python -m benchmarks.families --write"
