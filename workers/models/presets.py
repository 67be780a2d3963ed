"""Known architectures that can be built with random weights, for latency work without a Hub.

`random:<preset>` gives the shape of a published model; its perplexities mean nothing. Shapes are
those of the models' published configurations.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workers.contract.errors import ModelLoadError

DEMO_FOLDER = Path(__file__).parents[1] / "demo"


def _pythia(hidden: int, layers: int, heads: int, vocab: int = 50304) -> dict[str, Any]:
    return {
        "model_type": "gpt_neox",
        "vocab_size": vocab,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * hidden,
        "max_position_embeddings": 2048,
        "rotary_pct": 0.25,
        "rotary_emb_base": 10000,
    }


def _llama_2(hidden: int, layers: int, heads: int, intermediate: int) -> dict[str, Any]:
    return {
        "model_type": "llama",
        "vocab_size": 32000,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "intermediate_size": intermediate,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
    }


PRESETS: Mapping[str, Mapping[str, Any]] = {
    "pythia-14m": _pythia(128, 6, 4),
    "pythia-70m": _pythia(512, 6, 8),
    "pythia-160m": _pythia(768, 12, 12),
    "pythia-410m": _pythia(1024, 24, 16),
    "pythia-1b": _pythia(2048, 16, 8),
    "pythia-1.4b": _pythia(2048, 24, 16),
    "pythia-2.8b": _pythia(2560, 32, 32),
    "pythia-6.9b": _pythia(4096, 32, 32, vocab=50432),
    "pythia-12b": _pythia(5120, 36, 40, vocab=50688),
    "llama-2-7b": _llama_2(4096, 32, 32, 11008),
    "llama-2-13b": _llama_2(5120, 40, 40, 13824),
    "llama-3-8b": _llama_2(4096, 32, 32, 14336)
    | {
        "vocab_size": 128256,
        "num_key_value_heads": 8,
        "max_position_embeddings": 8192,
        "rope_theta": 500000.0,
    },
    "tiny-neox": _pythia(64, 2, 4, vocab=512) | {"max_position_embeddings": 256},
    "tiny-llama": _llama_2(64, 2, 4, 128)
    | {"vocab_size": 512, "num_key_value_heads": 2, "max_position_embeddings": 256},
}


def preset_config(name: str) -> dict[str, Any]:
    """Return the configuration of a preset, as transformers' `config.json` would hold it.

    Raises `ModelLoadError` for an unknown name.
    """
    if name not in PRESETS:
        raise ModelLoadError(f"random:{name} is unknown; known presets: {', '.join(PRESETS)}")
    return dict(PRESETS[name])
