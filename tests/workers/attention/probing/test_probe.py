"""What the probe reads off models, and off rules of masks."""

import copy

import pytest
import torch
from transformers.masking_utils import (
    blockwise_overlay,
    causal_mask_function,
    chunked_causal_mask_function,
    or_masks,
    sliding_window_bidirectional_mask_function,
    sliding_window_causal_mask_function,
)

from benchmarks.families.census import in_bfloat16
from tests.support.models import tiny, tiny_transformer
from workers.attention.probing.probe import probe
from workers.attention.rotary import LENGTHENED
from workers.attention.visibility import own_window
from workers.contract.errors import UnsupportedModelError


@pytest.mark.parametrize("window", [1, 2, 100, 4096, 131072])
def test_a_sliding_window_is_read_from_the_rule_of_a_mask(window):
    assert own_window(sliding_window_causal_mask_function(window)) == window


def test_a_causal_rule_has_no_window():
    assert own_window(causal_mask_function) is None


@pytest.mark.parametrize("size", [1, 100, 8192])
def test_chunks_are_no_sliding_window(size):
    rule = chunked_causal_mask_function(size, torch.zeros(1, dtype=torch.int64))
    if size == 1:
        assert own_window(rule) == 1
        return
    with pytest.raises(UnsupportedModelError, match="another rule than a sliding window"):
        own_window(rule)


def test_a_rule_that_shows_later_tokens_is_refused():
    with pytest.raises(UnsupportedModelError, match="later"):
        own_window(sliding_window_bidirectional_mask_function(64))


@pytest.mark.parametrize("window", [23, None])
def test_a_rule_that_knows_the_pictures_of_its_text_is_read_beyond_it(window):
    """As Gemma 4 makes it: of three tokens, none of which belongs to a picture."""
    base = causal_mask_function if window is None else sliding_window_causal_mask_function(window)
    assert own_window(or_masks(base, blockwise_overlay(torch.full((1, 3), -1)))) == window


def test_a_rule_by_what_tokens_are_is_refused():
    pictures = blockwise_overlay(torch.tensor([[-1, 0, 0]]))
    with pytest.raises(UnsupportedModelError, match="by what their tokens are"):
        own_window(or_masks(causal_mask_function, pictures))


def test_two_kinds_of_layers_have_a_placement_and_a_window_each():
    rotary = tiny("gemma3_text").rotary
    assert list(rotary.of_layer) == [0, 0, 0, 0, 0, 1, 0]
    assert rotary.windows == [100] * 5 + [None, 100]


def test_layers_without_positions_are_found():
    rotary = tiny("cohere2").rotary
    assert [len(rotary.placements[index].frequency) for index in rotary.of_layer] == [8, 8, 8, 0, 8]
    assert all(placement.interleaved for placement in rotary.placements[:1])


@pytest.mark.parametrize("model_type", ["qwen2_moe", "phimoe"])
def test_a_window_in_the_mask_alone_is_found(model_type):
    assert 100 in tiny(model_type).rotary.windows


@pytest.mark.parametrize("length", [20, 61, 300])
@pytest.mark.parametrize("rope_type", ["dynamic", "longrope"])
def test_frequencies_that_depend_on_the_length_hold_up_to_it(rope_type, length):
    factors = {"short_factor": [1.0] * 8, "long_factor": [3.0] * 8, "factor": 4.0}
    settings = {"rope_type": rope_type, "rope_theta": 10000.0, "factor": 4.0}
    if rope_type == "longrope":
        settings |= {**factors, "original_max_position_embeddings": length}
    model = tiny_transformer("llama", rope_parameters=settings, max_position_embeddings=length)
    assert probe(copy.deepcopy(model)).rotary.limit == length


@pytest.mark.parametrize("length", [131_072, 262_144])
@pytest.mark.parametrize("vocabulary", [97, 1009])
@pytest.mark.parametrize("model_type", ["llama", "kolibri1"])
def test_a_long_length_is_no_drift_and_not_one_longer(model_type, vocabulary, length):
    """The first position beyond it leaves a few hundredths, which float32 angles were allowed."""
    settings = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}
    changes = {"rope_parameters": settings, "max_position_embeddings": length}
    shape = {"num_hidden_layers": 1, "vocab_size": vocabulary}
    model = tiny_transformer(model_type, **changes, **shape)
    assert probe(copy.deepcopy(model)).rotary.limit == length


@pytest.mark.parametrize("theta", [1e6, 5e7, 5e8])
def test_a_length_beyond_which_few_pairs_change_little_by_little_is_no_drift(theta):
    settings = {"rope_type": "dynamic", "rope_theta": theta, "factor": 2.0}
    settings["partial_rotary_factor"] = 0.25
    model = copy.deepcopy(tiny_transformer("minimax_m2", rope_parameters=settings))
    limit = probe(model).rotary.limit
    assert 4096 <= limit < 4096 + 16


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("model_type", ["gpt_neox", "longcat_flash", "solar_open"])
def test_a_length_is_found_in_every_precision_also_where_few_pairs_turn(model_type, dtype):
    """Just beyond it half precision sees nothing; the length had come out longer, or as a drift."""
    config = tiny_transformer(model_type).config
    settings = {**config.rope_parameters, "rope_type": "dynamic", "factor": 3.0}
    changes = {"rope_parameters": settings, "max_position_embeddings": 70}
    model = copy.deepcopy(tiny_transformer(model_type, **changes))
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    assert probe(model).rotary.limit == 70


def test_frequencies_that_are_rescaled_once_hold_everywhere():
    settings = {
        "rope_type": "yarn",
        "rope_theta": 10000.0,
        "factor": 4.0,
        "original_max_position_embeddings": 128,
    }
    assert tiny("llama", rope_parameters=settings).rotary.limit is None


def test_queries_that_are_scaled_by_their_position_hold_until_they_are():
    assert tiny("ministral3").rotary.limit == 100


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_queries_that_are_scaled_little_by_little_are_refused_in_half_precision_too(heads):
    """Near position 0 the scale is within what bfloat16 rounds; it had been taken for a limit."""
    shape = {"num_key_value_heads": heads, "hidden_size": 128, "head_dim": 32}
    model = tiny_transformer("beam", attention_bias=True, **shape)
    for one in (copy.deepcopy(model), in_bfloat16(model)):
        with pytest.raises(UnsupportedModelError, match="scaled by their position"):
            probe(one)


@pytest.mark.parametrize("seen_from", [60, 61, 80, 1000])
def test_a_drift_is_refused_wherever_it_becomes_visible(seen_from):
    model = copy.deepcopy(tiny_transformer("llama"))
    slope = LENGTHENED[torch.float32] / (seen_from + 0.5)

    def longer(_, args, kwargs, angles):
        positions = kwargs.get("position_ids", args[-1])
        return tuple(part * (1 + slope * positions[..., None]) for part in angles)

    model.model.rotary_emb.register_forward_hook(longer, with_kwargs=True)
    with pytest.raises(UnsupportedModelError, match="scaled by their position"):
        probe(model)


@pytest.mark.parametrize("model_type", ["llama", "qwen3_next"])
def test_a_model_is_run_a_few_times_whatever_positions_are_looked_at(model_type):
    """Part by part in float32, every run widens all weights of a model in half precision."""
    model, runs = copy.deepcopy(tiny_transformer(model_type)), []
    model.register_forward_hook(lambda *_: runs.append(1))
    probe(model)
    assert len(runs) <= 12


def test_a_norm_behind_the_rotation_is_no_rotation():
    with pytest.raises(UnsupportedModelError, match="changed after the rotation"):
        tiny("hunyuan_v1_dense")
