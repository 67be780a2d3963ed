"""The self-check passes right models and catches wrong ones."""

import dataclasses

import pytest
import torch

from tests.support.models import demo, random_ids, tiny
from workers.attention import chunked
from workers.attention.visibility import Visibility
from workers.contract.errors import NumericalError, UnsupportedModelError
from workers.contract.spec import EvalSpec
from workers.quality import selfcheck
from workers.quality.selfcheck import PARITY_TOLERANCE, self_check

SPEC = EvalSpec(model="demo", dataset="pydoc", method="streaming", n_sink=4, window_size=60)


def halved(loaded):
    """Weights in bfloat16, the rotary frequencies left in float32, as loading does it."""
    for parameter in loaded.model.parameters():
        parameter.data = parameter.data.bfloat16()
    return dataclasses.replace(loaded, dtype=torch.bfloat16)


def test_the_demo_model_passes():
    assert 0 < self_check(demo(), SPEC) < PARITY_TOLERANCE / 10


def test_a_half_precision_model_is_checked_in_float32():
    loaded = halved(tiny("llama"))
    assert self_check(loaded, SPEC) < PARITY_TOLERANCE / 10
    assert next(loaded.model.parameters()).dtype == torch.bfloat16


def test_the_first_layers_are_checked_where_the_model_does_not_fit(monkeypatch):
    loaded = halved(tiny("gpt_neox", num_hidden_layers=4))
    monkeypatch.setattr(selfcheck, "_free_bytes", lambda device: 0)
    assert self_check(loaded, SPEC) < PARITY_TOLERANCE / 10
    assert len(loaded.model.gpt_neox.layers) == 4


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


def test_a_wrong_rotation_is_caught(monkeypatch):
    loaded = tiny("llama")
    loaded.rotary.frequencies = tuple(1.01 * f for f in loaded.rotary.frequencies)
    with pytest.raises(UnsupportedModelError, match="do not reproduce"):
        self_check(loaded, SPEC)


@pytest.mark.parametrize("family", ["glm", "cohere", "ernie4_5"])
def test_interleaved_rotation_is_refused(family):
    with pytest.raises(UnsupportedModelError, match="do not reproduce"):
        self_check(tiny(family), SPEC)


def test_parity_compares_about_190_evictions():
    loaded = tiny("llama")
    difference = selfcheck.parity(loaded.model, loaded, random_ids(257), Visibility(4, 60))
    assert 0 < difference < 1e-4
