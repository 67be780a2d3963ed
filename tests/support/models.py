"""Models for the tests: tiny random ones of every family, and the demo model that ships.

Weights are drawn ten times wider than usual, so that attention is far from uniform and a wrong
key changes the loss.
"""

import copy
import functools
import json

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from workers.attention.interface import install
from workers.attention.native import NATIVE_FAMILIES
from workers.attention.rotary import rotary_of
from workers.contract.spec import EvalSpec
from workers.models.loading import LoadedModel, load_model

VOCABULARY = 97
TINY = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "query_pre_attn_scalar": 16,
    "head_dim": 16,
}
FIXED_HEAD_DIM = ("gpt_neox", "phi", "olmo", "falcon", "persimmon", "stablelm")
"""Families that derive the size of a head and accept no other."""


def tiny_transformer(model_type, **changes):
    """A transformers model of a family as the library builds it, untouched by us."""
    return _built(model_type, json.dumps(changes))


@functools.cache
def _built(model_type, changes):
    torch.manual_seed(0)
    known = AutoConfig.for_model(model_type)
    settings = {
        name: value
        for name, value in TINY.items()
        if hasattr(known, name) and not (name == "head_dim" and model_type in FIXED_HEAD_DIM)
    }
    config = AutoConfig.for_model(model_type, **{**settings, **json.loads(changes)})
    return AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)


def tiny(model_type, **changes):
    """The same model, copied and switched to our attention."""
    return loaded(copy.deepcopy(tiny_transformer(model_type, **changes)))


def loaded(model):
    native = model.config.model_type in NATIVE_FAMILIES
    if not native:
        install(model)
    config = model.config.get_text_config()
    return LoadedModel(
        key=type(model).__name__,
        model=model,
        tokenizer=None,
        rotary=None if native else rotary_of(model, config.num_hidden_layers),
        device=torch.device("cpu"),
        dtype=torch.float32,
        n_layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        kv_heads=getattr(config, "num_key_value_heads", config.num_attention_heads),
        head_dim=16,
        vocab_size=config.vocab_size,
        trained_positions=getattr(config, "max_position_embeddings", None),
    )


@functools.cache
def demo():
    """The demo model, switched to our attention, with its tokenizer."""
    spec = EvalSpec(model="demo", dataset="pydoc", method="dense")
    return load_model(spec, torch.device("cpu"))


def random_ids(n_tokens, vocabulary=VOCABULARY, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(vocabulary, (n_tokens,), generator=generator)
