"""Where the attention goes: the columns against transformers' own attention maps."""

import numpy as np
import pytest
import torch

from tests.support.models import demo, random_ids, tiny, tiny_transformer
from workers.contract.spec import EvalSpec
from workers.models.loading import load_model
from workers.models.sinks import FIRST_POSITIONS, attention_columns, sink_strength


def own_maps(model, ids):
    """Attention probabilities [layers, heads, T, T] of transformers' eager attention."""
    model.set_attn_implementation("eager")
    with torch.inference_mode():
        found = model(ids[None], output_attentions=True).attentions
    return torch.stack([layer[0] for layer in found]).double()


@pytest.mark.parametrize("family", ["llama", "gpt_neox"])
def test_the_map_is_that_of_the_model_itself(family):
    texts = [random_ids(length, seed=length) for length in (40, 25, 5)]
    found = sink_strength(tiny(family), texts).by_text
    for text, ours in zip(texts, found, strict=True):
        theirs = own_maps(tiny_transformer(family), text)[:, :, 1:].mean(2)
        first = theirs[..., :FIRST_POSITIONS]
        wanted = torch.zeros_like(ours)
        wanted[..., : first.shape[-1]] = first
        wanted[..., -1] = theirs[..., FIRST_POSITIONS:].sum(-1)
        torch.testing.assert_close(ours, wanted, atol=1e-5, rtol=0)


def test_every_head_has_one_attention_to_give():
    columns = attention_columns(tiny("llama"), [random_ids(30), random_ids(300)])
    shape = [columns[f"attention_{name}"] for name in ("texts", "layers", "heads")]
    means = np.array(columns["attention_mean"]).reshape(*shape, FIRST_POSITIONS + 1)
    assert shape == [2, 4, 4]
    np.testing.assert_allclose(means.sum(-1), 1, atol=1e-6)


def test_a_mean_over_texts_counts_queries():
    loaded, texts = tiny("llama"), [random_ids(11), random_ids(31, seed=1)]
    both = sink_strength(loaded, texts).attention
    first, second = (sink_strength(loaded, [text]).attention for text in texts)
    torch.testing.assert_close(both, (10 * first + 30 * second) / 40)


def test_attention_alone_is_the_same_evaluation_under_every_method():
    def spec(**fields):
        return EvalSpec(model="demo", dataset="pydoc", measure=["attention"], **fields)

    wanted = spec(method="dense").run_id
    assert spec(method="streaming", n_sink=2, window_size=9).run_id == wanted
    assert spec(method="recompute", window_size=9, recompute_stride=2).run_id == wanted
    assert EvalSpec(model="demo", dataset="pydoc", method="dense").measure == ("quality", "latency")


def test_the_demo_model_is_loaded_with_the_format_of_its_weights():
    assert demo().weights_format == "safetensors"
    spec = EvalSpec(model="random:tiny-llama", dataset="random", method="dense", max_tokens=8)
    assert load_model(spec, torch.device("cpu")).weights_format == "random"
