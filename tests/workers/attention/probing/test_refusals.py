"""Why a model that does not run here is refused."""

import copy

import pytest

from benchmarks.families.census import load_tiny
from tests.support.models import tiny_transformer
from workers.attention.probing.probe import probe
from workers.contract.errors import UnsupportedModelError
from workers.contract.spec import EvalSpec
from workers.quality.selfcheck import self_check

SPEC = EvalSpec(model="demo", dataset="pydoc", method="streaming")


@pytest.mark.parametrize(
    ("model_type", "reason"),
    {
        "gpt_neox_japanese": "does not go through transformers' AttentionInterface",
        "xglm": "does not go through transformers' AttentionInterface",
        "mamba": "does not attend",
        "minimax": "keeps its recurrent state in a cache of its own",
        "qwen4_exp_text": "with an indexer of its own",
        "deepseek_v4": "the values of its attention are turned by their position",
        "recurrent_gemma": "layers that are no attention treat a text's first position otherwise",
        "gpt2": "positions are added to what the layers read",
    }.items(),
)
def test_the_reason_is_what_the_model_does_and_not_what_it_raised(model_type, reason):
    with pytest.raises(UnsupportedModelError, match=reason) as refusal:
        probe(copy.deepcopy(tiny_transformer(model_type)))
    assert "Error" not in str(refusal.value)


@pytest.mark.parametrize("model_type", ["kimi_linear", "bailing_hybrid"])
def test_a_model_of_linear_attention_alone_is_said_to_have_no_keys(model_type):
    """Its class has "attention" in the names of its layers, and transformers runs them itself."""
    model = tiny_transformer(model_type, layer_types=["linear_attention"] * 3)
    with pytest.raises(UnsupportedModelError, match=r"every layer .* carries a recurrent state"):
        probe(copy.deepcopy(model))


def test_experts_that_are_chosen_by_the_other_tokens_are_no_positions():
    """Doge's router mixes the tokens that run together; its values do not know their place."""
    model = tiny_transformer("doge", is_moe=True, num_experts=9, num_experts_per_tok=2)
    with pytest.raises(UnsupportedModelError, match="reach each other by other ways"):
        probe(copy.deepcopy(model))


def test_whatever_a_model_raises_while_it_is_probed_is_a_refusal(monkeypatch):
    model = tiny_transformer("llama", num_hidden_layers=1)
    monkeypatch.setattr(type(model), "forward", lambda *_, **__: 1 / 0)
    with pytest.raises(UnsupportedModelError, match="by transformers itself"):
        probe(model)


@pytest.mark.parametrize(
    ("model_type", "changes"),
    [("helium", {"head_dim": 24}), ("deepseek_v3", {"num_key_value_heads": 1})],
)
def test_sizes_that_contradict_each_other_are_said_wherever_they_show(model_type, changes):
    """The second runs with our attention, and fails in the self-check with its own."""
    with pytest.raises(UnsupportedModelError, match="by transformers itself on token ids"):
        self_check(load_tiny(tiny_transformer(model_type, **changes)), SPEC)
