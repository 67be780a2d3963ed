"""The self-check passes right models and catches wrong ones."""

import copy
import dataclasses

import pytest
import torch

from benchmarks.families.census import in_bfloat16, load_tiny
from tests.support.models import demo, random_ids, tiny, tiny_transformer
from workers.attention import chunked
from workers.attention.rotary import NO_POSITIONS
from workers.attention.visibility import Visibility
from workers.contract.errors import NumericalError, UnsupportedModelError
from workers.contract.spec import EvalSpec
from workers.quality.selfcheck import PARITY_TOLERANCE, parity, self_check

SPEC = EvalSpec(model="demo", dataset="pydoc", method="streaming", n_sink=4, window_size=60)


def test_the_demo_model_passes():
    assert 0 < self_check(demo(), SPEC) < PARITY_TOLERANCE / 10


def test_a_half_precision_model_is_checked_in_float32():
    loaded = load_tiny(in_bfloat16(tiny_transformer("llama")))
    assert self_check(loaded, SPEC) < PARITY_TOLERANCE / 10
    assert next(loaded.model.parameters()).dtype == torch.bfloat16


def test_all_layers_are_checked_where_a_float32_copy_does_not_fit():
    loaded = load_tiny(in_bfloat16(tiny_transformer("gpt_neox")))
    before = [parameter.data_ptr() for parameter in loaded.model.parameters()]
    assert self_check(loaded, SPEC, free_bytes=0) < PARITY_TOLERANCE / 10
    assert [parameter.data_ptr() for parameter in loaded.model.parameters()] == before
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.bfloat16}


def test_a_change_in_the_last_layer_alone_is_noticed_on_little_memory():
    """A layer that attends otherwise than the model's own: its rotation is taken from it."""
    loaded = load_tiny(in_bfloat16(tiny_transformer("gpt_neox")))
    of_layer = [*loaded.rotary.of_layer[:-1], 1]
    rotary = dataclasses.replace(
        loaded.rotary, placements=[*loaded.rotary.placements, NO_POSITIONS], of_layer=of_layer
    )
    with pytest.raises(UnsupportedModelError, match="do not reproduce"):
        self_check(dataclasses.replace(loaded, rotary=rotary), SPEC, free_bytes=0)


def test_the_rounding_of_large_logits_is_no_failure():
    model = tiny_transformer("llama")
    loud = copy.deepcopy(model)
    loud.lm_head.weight *= 1000
    assert self_check(load_tiny(loud), SPEC) > PARITY_TOLERANCE


@pytest.mark.parametrize("lost", ["one token too many", "a sink"])
def test_a_wrong_eviction_is_caught(monkeypatch, lost):
    right = chunked.evict

    def wrong(state, visibility, next_query):
        if lost == "a sink":
            return right(state, Visibility(visibility.n_sink - 1, 60), next_query)
        return right(state, Visibility(visibility.n_sink, 59), next_query)

    monkeypatch.setattr(chunked, "evict", wrong)
    with pytest.raises(NumericalError, match="self-check failed"):
        self_check(demo(), SPEC)


def test_a_wrong_rotation_is_caught():
    loaded = tiny("llama")
    (placement,) = loaded.rotary.placements
    wrong = [dataclasses.replace(placement, frequency=1.01 * placement.frequency)]
    rotary = dataclasses.replace(loaded.rotary, placements=wrong)
    with pytest.raises(UnsupportedModelError, match="do not reproduce"):
        self_check(dataclasses.replace(loaded, rotary=rotary), SPEC)


def test_parity_compares_about_190_evictions():
    loaded = tiny("llama")
    difference = parity(loaded.model, loaded, random_ids(257), Visibility(4, 60))
    assert 0 < difference < 1e-4
