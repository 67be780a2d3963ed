"""Rotation at any position: against a float64 oracle, millions of tokens into a stream."""

import itertools

import pytest
import torch

from workers.attention.rotary import NO_POSITIONS, Placement, Rotary, candidates, rotate

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
    angles = Rotary([Placement(FREQUENCY)], [0]).angles(positions)[0]
    actual = rotate(query, angles) @ rotate(key, angles).mT / 8
    exact = rotated_exactly(query, positions) @ rotated_exactly(key, positions).mT / 8
    assert (actual - exact).abs().max() < 1e-3


def test_scores_depend_on_the_distance_alone():
    torch.manual_seed(0)
    query, key = torch.randn(2, 1, 100, 64)
    rotary = Rotary([Placement(FREQUENCY)], [0])

    def scores(start):
        angles = rotary.angles(torch.arange(start, start + 100))[0]
        return rotate(query, angles) @ rotate(key, angles).mT

    torch.testing.assert_close(scores(1_999_000), scores(0), rtol=0, atol=1e-4)


def test_partial_rotary_leaves_the_rest_of_a_head_alone():
    states = torch.randn(1, 10, 80)
    angles = Rotary([Placement(FREQUENCY)], [0]).angles(torch.arange(10))[0]
    assert torch.equal(rotate(states, angles)[..., 64:], states[..., 64:])


def test_half_precision_is_rotated_in_float32_and_returned_in_its_own_type():
    states = torch.randn(1, 10, 64)
    angles = Rotary([Placement(FREQUENCY)], [0]).angles(torch.arange(10_000, 10_010))[0]
    low = rotate(states.bfloat16(), angles)
    assert low.dtype == torch.bfloat16
    assert torch.equal(low, rotate(states.bfloat16().float(), angles).bfloat16())


@pytest.mark.parametrize("start", [0, 32])
@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("sign", [1, -1])
def test_every_layout_is_a_rotation_of_pairs(start, interleaved, sign):
    """Each pair as a complex number, multiplied by e^(i * angle)."""
    states, positions = torch.randn(1, 10, 96), torch.arange(10)
    placement = Placement(sign * FREQUENCY, start, interleaved)
    turned = rotate(states, placement.angles(positions))
    part = slice(start, start + 64)

    def pairs(x):
        first, second = (x[..., ::2], x[..., 1::2]) if interleaved else x.chunk(2, dim=-1)
        return torch.complex(first.double(), second.double())

    radians = positions.double()[:, None] * FREQUENCY * sign
    exact = pairs(states[..., part]) * torch.polar(torch.ones_like(radians), radians)
    torch.testing.assert_close(pairs(turned[..., part]), exact, rtol=0, atol=1e-6)
    outside = torch.cat([turned[..., :start], turned[..., start + 64 :]], dim=-1)
    assert torch.equal(outside, torch.cat([states[..., :start], states[..., start + 64 :]], -1))


def test_a_layer_without_positions_is_left_alone():
    states = torch.randn(1, 10, 64)
    assert rotate(states, NO_POSITIONS.angles(torch.arange(10))) is states


def test_candidates_are_told_apart_by_what_they_do():
    states = torch.randn(1, 1, 1, 96)
    positions = torch.tensor([17])
    turned = [
        rotate(states, placement.angles(positions)) for placement in candidates([FREQUENCY], 96)
    ]
    assert len(turned) == 9
    assert all(not torch.allclose(a, b) for a, b in itertools.combinations(turned, 2))
