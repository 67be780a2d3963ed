"""A tiny random model of any causal-LM type: every weight random, norms and biases too."""

from collections.abc import Mapping
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from benchmarks.families.shapes import SMALL, SPECIAL

LAYERS = 4
"""Layers of a type whose layers are all alike."""
GAIN = 1.5
"""Weights are wider than usual, so that attention is far from uniform and a wrong key is seen."""
SPREAD = 0.3
"""Standard deviation added to norms, biases and other vectors."""

MODEL_TYPES: tuple[str, ...] = tuple(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
"""Every causal-LM type of the installed transformers."""


def tiny_model(model_type: str, seed: int = 0, **changes: Any) -> Any:
    """Return a tiny random model, on its own eager attention, float32."""
    transformers.logging.set_verbosity_error()
    torch.manual_seed(seed)
    config = tiny_config(model_type, **changes)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    model = model.eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim == 1:
            parameter.add_(SPREAD * noise)
        elif parameter.ndim > 1:
            parameter.copy_(noise * GAIN / parameter.shape[-1] ** 0.5)
    return model


def tiny_config(model_type: str, **changes: Any) -> Any:
    """Return a tiny configuration of a type, with at least one period of its layer pattern."""
    known = AutoConfig.for_model(model_type)
    settings = _small(known, is_text=True)
    for name, value in settings.items():
        if isinstance(value, dict):
            settings[name] = {**value, **SPECIAL.get(getattr(known, name).model_type, {})}
    return AutoConfig.for_model(
        model_type, **{**settings, **SPECIAL.get(model_type, {}), **changes}
    )


def _small(config: Any, *, is_text: bool) -> dict[str, Any]:
    """Return the small settings of a configuration and of those inside it."""
    known: Mapping[str, Any] = config.to_dict()
    settings: dict[str, Any] = {
        name: value
        for name, value in SMALL.items()
        if name in known
        and not isinstance(known[name], list | dict)
        and (known[name] is not None or name == "sliding_window")
    }
    if "kv_lora_rank" in known and "num_key_value_heads" in known:
        settings["num_key_value_heads"] = SMALL["num_attention_heads"]
    if "qk_rope_head_dim" in known and "head_dim" in settings:
        settings["head_dim"] = SMALL["qk_rope_head_dim"]
    if isinstance(getattr(type(config), "head_dim", None), property):
        settings.pop("head_dim", None)
    if "num_hidden_layers" in known:
        settings["num_hidden_layers"] = _period(_kinds(config)) if is_text else 1
    for name in known:
        inner = vars(config).get(name)
        if isinstance(inner, PreTrainedConfig):
            settings[name] = _small(inner, is_text=name in ("text_config", "language_config"))
    return settings


def _kinds(config: Any) -> Any:
    for name in ("layer_types", "layers_block_type"):
        if kinds := getattr(config, name, None):
            return kinds
    return None


def _period(layer_types: Any) -> int:
    """Return how many layers hold every kind of layer, and one more."""
    if not layer_types:
        return LAYERS
    n_layers = next(
        n for n in range(1, len(layer_types) + 1) if set(layer_types[:n]) == set(layer_types)
    )
    return max(2, min(n_layers + 1, len(layer_types)))
