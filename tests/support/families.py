"""The families that are tested, and those that are known to be refused and why.

`docs/models.md` is generated from these two tables by the test that runs them.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Family:
    """One transformers model type, and what makes it worth a row of its own."""

    model_type: str
    examples: str
    trait: str
    changes: dict[str, Any] = field(default_factory=dict)
    oracle_in_float32: bool = False
    """The library's mixture-of-experts kernels take no float64."""


SUPPORTED = [
    Family("gpt_neox", "Pythia, GPT-NeoX-20B", "partial rotary (25 %), parallel residual"),
    Family("llama", "Llama 2 and 3, Vicuna, SmolLM", "grouped-query attention"),
    Family(
        "llama",
        "Llama 3.1 and later",
        "frequencies rescaled once (`llama3`)",
        {
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 10000.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            }
        },
    ),
    Family(
        "llama",
        "long-context Llama derivatives",
        "YaRN: scaled cos and sin",
        {
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 10000.0,
                "factor": 4.0,
                "original_max_position_embeddings": 128,
            }
        },
    ),
    Family("mistral", "Mistral 7B", "own sliding window: budget + 1 must fit into it"),
    Family("mixtral", "Mixtral 8x7B", "mixture of experts", oracle_in_float32=True),
    Family("qwen2", "Qwen 1.5, 2 and 2.5", "biases on query, key and value"),
    Family("qwen3", "Qwen 3", "norms on query and key"),
    Family("qwen3_moe", "Qwen 3 MoE", "mixture of experts", oracle_in_float32=True),
    Family("phi", "Phi 1.5 and 2", "partial rotary (50 %), biases"),
    Family("phi3", "Phi 3 and 4", "fused query, key and value"),
    Family("gemma", "Gemma", "scaled embeddings, wide heads"),
    Family("gemma2", "Gemma 2", "soft-capped scores, alternating sliding layers"),
    Family("gemma3_text", "Gemma 3", "two rotary frequencies", {"num_hidden_layers": 6}),
    Family("olmo", "OLMo", "norms without weights"),
    Family("olmo2", "OLMo 2", "norms behind the attention"),
    Family("olmoe", "OLMoE", "mixture of experts", oracle_in_float32=True),
    Family("stablelm", "StableLM", "partial rotary (25 %)"),
    Family("starcoder2", "StarCoder 2", "biases, sliding window"),
    Family("granite", "Granite 3", "multipliers on scores, residuals and logits"),
    Family("smollm3", "SmolLM 3", "grouped-query attention"),
    Family("persimmon", "Persimmon", "partial rotary (50 %), norms on query and key"),
    Family("nemotron", "Nemotron, Minitron", "partial rotary (50 %), squared ReLU"),
    Family("arcee", "Arcee AFM", "squared ReLU"),
    Family("apertus", "Apertus", "norms on query and key"),
    Family("seed_oss", "Seed-OSS", "biases"),
    Family("hunyuan_v1_dense", "Hunyuan", "norms behind the rotation"),
]

NATIVE = [
    Family("falcon", "Falcon 7B, Falcon 2", "rotary, multi-query"),
    Family("falcon", "Falcon-RW", "ALiBi", {"alibi": True, "multi_query": False}),
    Family("mpt", "MPT-7B, MPT-30B", "ALiBi"),
    Family("bloom", "BLOOM", "ALiBi"),
]
"""Evaluated token by token, on their own attention."""

REFUSED = [
    ("glm", "GLM 4", "interleaved rotary", "do not reproduce"),
    ("cohere", "Command R", "interleaved rotary", "do not reproduce"),
    ("ernie4_5", "ERNIE 4.5", "interleaved rotary", "do not reproduce"),
    ("gpt_oss", "gpt-oss", "learned sink logits in the softmax", "do not reproduce"),
    ("diffllama", "DiffLlama", "difference of two attentions", "do not reproduce"),
    ("gptj", "GPT-J", "interleaved rotary, own attention", "cannot be run|AttentionInterface"),
    ("gpt2", "GPT-2", "learned absolute positions", "no rotary position"),
    ("opt", "OPT", "learned absolute positions", "no rotary position"),
    ("mamba", "Mamba", "no attention", "not a cache of keys|cannot be run|AttentionInterface"),
    ("jamba", "Jamba", "state-space layers", "not a cache of keys|AttentionInterface"),
    ("minimax", "MiniMax 01", "linear attention", "not a cache of keys"),
    ("qwen3_next", "Qwen 3 Next", "linear attention", "not a cache of keys"),
]
