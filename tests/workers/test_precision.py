"""A model in float32 where memory holds no copy of it."""

import copy

import pytest
import torch

from benchmarks.families.census import in_bfloat16, random_ids
from tests.support.models import tiny_transformer
from workers.precision import in_float32


@pytest.mark.parametrize("model_type", ["llama", "gemma3_text", "hrm_text", "zaya", "qwen3_moe"])
def test_part_by_part_is_the_float32_model_and_leaves_it_as_it_was(model_type):
    """Two of them have weights of their own beside their layers."""
    model = in_bfloat16(tiny_transformer(model_type))
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    ids = random_ids(20)[None]
    with torch.inference_mode():
        expected = copy.deepcopy(model).float()(input_ids=ids, use_cache=False).logits
        with in_float32(model, copied=False) as wide:
            actual = wide(input_ids=ids, use_cache=False).logits
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)
    for name, weight in model.named_parameters():
        assert weight.dtype == torch.bfloat16
        assert torch.equal(weight, before[name])


@pytest.mark.parametrize("model_type", ["llama", "hrm_text", "zaya"])
def test_no_more_than_a_few_layers_are_float32_at_once(model_type):
    model = in_bfloat16(tiny_transformer(model_type))
    total = sum(weight.numel() for weight in model.parameters())
    most = 0

    def count(*_):
        nonlocal most
        wide = [weight for weight in model.parameters() if weight.dtype == torch.float32]
        most = max(most, sum(weight.numel() for weight in wide))

    for module in model.modules():
        if not list(module.children()):
            module.register_forward_pre_hook(count)
    with torch.inference_mode(), in_float32(model, copied=False):
        model(input_ids=random_ids(20)[None], use_cache=False)
    assert 0 < most < 0.6 * total
