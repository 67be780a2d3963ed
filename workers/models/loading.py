"""Loads a model and its tokenizer, and refuses what could not be evaluated exactly."""

from dataclasses import dataclass
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

from workers.attention.interface import LayerShape
from workers.attention.native import NATIVE_FAMILIES
from workers.attention.probing.probe import probe
from workers.attention.rotary import Rotary
from workers.contract.errors import ModelLoadError, NumericalError
from workers.contract.spec import RANDOM_MODEL_PREFIX, EvalSpec, loading_key
from workers.models.checkpoint import Checkpoint, read_checkpoint
from workers.models.presets import preset_config
from workers.models.sources import source_of
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
    layers: tuple[LayerShape, ...]
    """Of every attention, in the order of a forward."""
    latent_dim: int | None
    """Elements that latent attention has to cache per token and layer, for all heads at once."""
    vocab_size: int
    trained_positions: int | None

    @property
    def n_layers(self) -> int:
        """Layers that attend."""
        return len(self.layers)

    @property
    def heads(self) -> int:
        """Query heads, of the layer that has most."""
        return max(layer.heads for layer in self.layers)

    @property
    def kv_heads(self) -> int:
        """Heads whose keys are cached, in the layer that has most."""
        return max(layer.kv_heads for layer in self.layers)

    @property
    def head_dim(self) -> int:
        """Size of a head, in the layer where it is largest."""
        return max(layer.head_dim for layer in self.layers)

    def kv_cache_bytes(self, tokens: int) -> int:
        """Return the bytes of keys and values that a cache of this many tokens has to hold.

        A layer with a sliding window w of its own holds w - 1 tokens at most, one that shares
        another's keys none, and latent attention the latent from which keys and values are made.
        """
        elements = 0
        for number, layer in enumerate(self.layers):
            window = self.rotary.window(number) if self.rotary else None
            held = tokens if window is None else min(tokens, window - 1)
            per_token = self.latent_dim or layer.kv_heads * (layer.head_dim + layer.value_dim)
            elements += 0 if layer.shared else held * per_token
        return elements * self.dtype.itemsize


def load_model(spec: EvalSpec, device: torch.device) -> LoadedModel:
    """Load the model of a spec.

    Raises `ModelLoadError` if it cannot be read (`ModelRefusedError` if it never can),
    `NumericalError` if a weight is not finite, and `UnsupportedModelError` if its positions cannot
    be streamed exactly.
    """
    dtype = getattr(torch, spec.dtype)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    tokenizer = None
    if spec.model.startswith(RANDOM_MODEL_PREFIX):
        checkpoint = Checkpoint(_random_model(spec, dtype, device), "random")
    else:
        source = source_of(spec)
        checkpoint = read_checkpoint(source, dtype)
        try:
            tokenizer = read_tokenizer(source)
        except ModelLoadError:
            if spec.dataset != "random":  # token ids can do without one
                raise
    model = checkpoint.model.to(device).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise NumericalError(f"the weight {name} holds NaN or infinity")
    checkpoint = Checkpoint(model, checkpoint.weights_format)
    key = loading_key(spec)
    return switched(checkpoint, key=key, tokenizer=tokenizer, device=device, dtype=dtype)


def switched(
    checkpoint: Checkpoint,
    *,
    key: str,
    tokenizer: Any | None,
    device: torch.device,
    dtype: torch.dtype,
) -> LoadedModel:
    """Find out how a model in memory attends, and switch it to our attention.

    Raises `UnsupportedModelError` if it cannot be streamed exactly.
    """
    model = checkpoint.model
    config = model.config.get_text_config(decoder=True)
    rotary, layers = None, _native_layers(config)
    if not layers:
        probed = probe(model)
        rotary, layers = probed.rotary, probed.layers
    # Of latent attention: the latent, and the rotated part that all heads share (DeepSeek).
    rank = getattr(config, "kv_lora_rank", None)
    # How many ids can be read and predicted: some heads lack ids that stand for images.
    head = model.get_output_embeddings()
    sizes = [int(model.get_input_embeddings().num_embeddings)]
    sizes += [] if head is None else [int(head.weight.shape[0])]
    return LoadedModel(
        key=key,
        model=model,
        tokenizer=tokenizer,
        weights_format=checkpoint.weights_format,
        rotary=rotary,
        device=device,
        dtype=dtype,
        layers=layers,
        latent_dim=rank and int(rank + config.qk_rope_head_dim),
        vocab_size=min(sizes),
        trained_positions=trained_positions(config),
    )


def _native_layers(config: Any) -> tuple[LayerShape, ...]:
    """Return the layers of a family that runs on its own attention; none for the others."""
    if config.model_type not in NATIVE_FAMILIES:
        return ()
    heads = config.num_attention_heads
    head_dim = config.hidden_size // heads
    named = [getattr(config, name, None) for name in ("num_key_value_heads", "num_kv_heads")]
    kv_heads = int(next((number for number in named if number), heads))
    if config.model_type == "falcon" and not config.new_decoder_architecture:
        kv_heads = 1 if config.multi_query else int(heads)  # it has names of its own for them
    shape = LayerShape(heads, kv_heads, head_dim, head_dim, shared=False, plain=False)
    return (shape,) * int(config.num_hidden_layers)


def trained_positions(config: Any) -> int | None:
    """Return the context length of the training; ALiBi models may not state one."""
    for name in ("max_position_embeddings", "max_seq_len", "seq_length", "n_positions"):
        if getattr(config, name, None):
            return int(getattr(config, name))
    return None


def _random_model(spec: EvalSpec, dtype: torch.dtype, device: torch.device) -> Any:
    """Build a preset with seeded random weights, straight on the device in its dtype."""
    settings = preset_config(spec.model.removeprefix(RANDOM_MODEL_PREFIX))
    config = AutoConfig.for_model(**settings)
    torch.manual_seed(spec.seed)
    with torch.device(device):
        return AutoModelForCausalLM.from_config(config, dtype=dtype)
