"""Loads a model and its tokenizer, and refuses what could not be evaluated exactly."""

from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from workers.attention.interface import install
from workers.attention.native import NATIVE_FAMILIES
from workers.attention.rotary import Rotary, rotary_of
from workers.contract.errors import ModelLoadError, NumericalError
from workers.contract.spec import RANDOM_MODEL_PREFIX, EvalSpec, loading_key
from workers.models.checkpoint import Checkpoint, read_checkpoint
from workers.models.presets import preset_config
from workers.models.sources import Source, source_of
from workers.models.tokenizer import read_tokenizer


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model in memory, ready for our attention, and the sizes that results need."""

    key: str
    """See `spec.loading_key`."""
    model: Any
    tokenizer: Any | None
    """None for `random:` models, and for folders without one that are given token ids."""
    weights_format: str | None = None
    """What the weights were read from; see `Checkpoint`."""
    rotary: Rotary | None
    """None for a family that is evaluated token by token (`workers/attention/native.py`)."""
    device: torch.device
    dtype: torch.dtype
    n_layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab_size: int
    trained_positions: int | None

    def kv_cache_bytes(self, tokens: int) -> int:
        """Return the bytes of keys and values of this many cached tokens, all layers."""
        return 2 * self.n_layers * self.kv_heads * self.head_dim * self.dtype.itemsize * tokens


def load_model(spec: EvalSpec, device: torch.device) -> LoadedModel:
    """Load the model of a spec.

    Raises `ModelLoadError` if it cannot be read (`ModelRefusedError` if it never can),
    `NumericalError` if a weight is not finite, and `UnsupportedModelError` if its positions cannot
    be streamed exactly.
    """
    dtype = getattr(torch, spec.dtype)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if spec.model.startswith(RANDOM_MODEL_PREFIX):
        checkpoint, tokenizer = Checkpoint(_random_model(spec, dtype, device), "random"), None
    else:
        source = source_of(spec)
        checkpoint = read_checkpoint(source, dtype)
        tokenizer = _tokenizer_if_any(spec, source)
    model = checkpoint.model.to(device).eval().requires_grad_(False)
    _refuse_non_finite(model)
    native = model.config.model_type in NATIVE_FAMILIES
    if not native:
        install(model)
    config = model.config.get_text_config()
    heads = config.num_attention_heads
    return LoadedModel(
        key=loading_key(spec),
        model=model,
        tokenizer=tokenizer,
        weights_format=checkpoint.weights_format,
        rotary=None if native else rotary_of(model, config.num_hidden_layers),
        device=device,
        dtype=dtype,
        n_layers=config.num_hidden_layers,
        heads=heads,
        kv_heads=_kv_heads(config),
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // heads,
        vocab_size=model.get_input_embeddings().num_embeddings,
        trained_positions=trained_positions(config),
    )


def _kv_heads(config: Any) -> int:
    """Return the heads whose keys are cached; Falcon has names of its own for them."""
    if config.model_type == "falcon" and not config.new_decoder_architecture:
        return 1 if config.multi_query else int(config.num_attention_heads)
    for name in ("num_key_value_heads", "num_kv_heads"):
        if getattr(config, name, None):
            return int(getattr(config, name))
    return int(config.num_attention_heads)


def trained_positions(config: Any) -> int | None:
    """Return the context length of the training; ALiBi models may not state one."""
    for name in ("max_position_embeddings", "max_seq_len", "seq_length"):
        if getattr(config, name, None):
            return int(getattr(config, name))
    return None


def _tokenizer_if_any(spec: EvalSpec, source: Source) -> Any | None:
    """Return the tokenizer; random token ids can do without one."""
    try:
        return read_tokenizer(source)
    except ModelLoadError:
        if spec.dataset == "random":
            return None
        raise


def _random_model(spec: EvalSpec, dtype: torch.dtype, device: torch.device) -> Any:
    """Build a preset with seeded random weights, straight on the device in its dtype."""
    settings = preset_config(spec.model.removeprefix(RANDOM_MODEL_PREFIX))
    config = AutoConfig.for_model(**settings)
    torch.manual_seed(spec.seed)
    with torch.device(device):
        return AutoModelForCausalLM.from_config(config, dtype=dtype)


def _refuse_non_finite(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise NumericalError(f"the weight {name} holds NaN or infinity")
