"""A type of model for every mechanism that the engine knows; the census has all types."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Family:
    """A type, in a setting."""

    model_type: str
    changes: dict[str, Any] = field(default_factory=dict)


REPRESENTATIVES = {
    "gpt_neox": "partial rotary, parallel residual",
    "gemma2": "capped scores, own windows in every other layer",
    "gemma3_text": "two rotary frequencies, own windows",
    "gpt_oss": "learned sink logits",
    "smollm3": "layers without positions, found in half precision on little memory too",
    "exaone4": "layers without positions, windows, norms behind the attention",
    "cohere2": "interleaved rotary",
    "nanochat": "rotates backwards",
    "deepseek_v3": "latent attention, rotated part at the end of a head",
    "gemma4_text": "sizes of heads differ, layers share keys",
    "diffllama": "attends twice in a layer",
    "qwen2_moe": "own window in the mask alone",
    "phimoe": "length-dependent frequencies, own window in the mask alone",
    "ministral3": "queries scaled by their position",
    "afmoe": "gates, windows and layers without positions",
    "qwen3_next": "linear attention with a state",
    "falcon_h1": "state and keys in one layer",
    "lfm2": "convolutions with a state",
    "jamba": "state continued over one token at a time only, found in half precision too",
    "zaya": "convolutions across the queries, keys and values",
    "qwen3_5_moe_text": "experts between which rounding may choose",
    "moshi": "a head without logits for the last ids",
    "got_ocr2": "options that are handed down to every layer",
    "gemma4_unified": "a mask that knows the pictures of its text",
    "granitemoehybrid": "a state in layers that are called layers",
}

NATIVE = [
    Family("falcon"),
    Family("falcon", {"alibi": True, "multi_query": False}),
    Family("mpt"),
    Family("bloom"),
    Family("gptj"),
    Family("codegen"),
]
"""Evaluated token by token on their own attention, and the settings in which they are tested."""

REFUSED = {
    "gpt2": "absolute positions",
    "opt": "absolute positions|order of the tokens",
    "bert": "absolute positions",
    "gpt_neo": "AttentionInterface",
    "mamba": "does not attend",
    "llama4_text": "another rule than a sliding window",
    "deepseek_v32": "'indices'",
    "hunyuan_v1_dense": "changed after the rotation",
    "beam": "scaled by their position",
    "doge": "mask",
    "cpmant": "AttentionInterface",
}
"""Refused, and a part of the reason."""
