"""Rotation at any position: against a float64 oracle, millions of tokens into a stream."""

import copy

import pytest
import torch

from tests.support.models import tiny, tiny_transformer
from workers.attention.interface import install
from workers.attention.rotary import Rotary, rotary_of, rotate
from workers.contract.errors import UnsupportedModelError

FREQUENCY = 10000.0 ** (-torch.arange(0, 64, 2, dtype=torch.float64) / 64)


def rotated_exactly(states, positions):
    """Half-split rotation in float64 throughout."""
    radians = positions.double()[:, None] * FREQUENCY[None]
    first, second = states.double().chunk(2, dim=-1)
    cos, sin = radians.cos(), radians.sin()
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


@pytest.mark.parametrize("start", [0, 65_000, 2_000_000, 4_000_000])
def test_scores_are_exact_millions_of_positions_into_a_stream(start):
    torch.manual_seed(0)
    positions = torch.arange(start, start + 500)
    query, key = torch.randn(2, 1, 500, 64) * 4
    angles = Rotary([FREQUENCY], [0]).angles(positions)[0]
    actual = rotate(query, angles) @ rotate(key, angles).mT / 8
    exact = rotated_exactly(query, positions) @ rotated_exactly(key, positions).mT / 8
    assert (actual - exact).abs().max() < 1e-3


def test_scores_depend_on_the_distance_alone():
    torch.manual_seed(0)
    query, key = torch.randn(2, 1, 100, 64)
    rotary = Rotary([FREQUENCY], [0])

    def scores(start):
        angles = rotary.angles(torch.arange(start, start + 100))[0]
        return rotate(query, angles) @ rotate(key, angles).mT

    torch.testing.assert_close(scores(1_999_000), scores(0), rtol=0, atol=1e-4)


def test_partial_rotary_leaves_the_rest_of_a_head_alone():
    states = torch.randn(1, 10, 80)
    angles = Rotary([FREQUENCY], [0]).angles(torch.arange(10))[0]
    assert torch.equal(rotate(states, angles)[..., 64:], states[..., 64:])


def test_half_precision_is_rotated_in_float32_and_returned_in_its_own_type():
    states = torch.randn(1, 10, 64)
    angles = Rotary([FREQUENCY], [0]).angles(torch.arange(10_000, 10_010))[0]
    low = rotate(states.bfloat16(), angles)
    assert low.dtype == torch.bfloat16
    assert torch.equal(low, rotate(states.bfloat16().float(), angles).bfloat16())


def test_frequencies_that_depend_on_the_length_are_refused():
    dynamic = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    model = tiny_transformer("llama", rope_parameters=dynamic)
    with pytest.raises(UnsupportedModelError, match="dynamic"):
        rotary_of(model, 2)


def test_learned_positions_are_refused():
    with pytest.raises(UnsupportedModelError, match="no rotary position"):
        rotary_of(tiny_transformer("gpt2", n_layer=1, n_embd=64, n_head=4), 1)


def test_models_with_two_kinds_of_layers_use_both_frequencies():
    rotary = tiny("gemma3_text", num_hidden_layers=6).rotary
    assert sorted(rotary.of_layer) == [0, 1, 1, 1, 1, 1]
    assert not torch.equal(*rotary.frequencies)


def test_attention_that_never_arrives_here_is_refused():
    with pytest.raises(UnsupportedModelError, match="AttentionInterface"):
        install(copy.deepcopy(tiny_transformer("falcon")))
