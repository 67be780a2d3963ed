"""The attention that our passes give to a transformers model, and how it gets there.

transformers calls `ALL_ATTENTION_FUNCTIONS[name](module, query, key, value, ...)` in every layer.
We register one function under the name `sinksweep`; it hands the call to the pass that is active
in this context. A pass owns the keys and values and decides what is visible, so no cache object
of transformers takes part. Positions: see `workers/attention/rotary.py`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface

from workers.contract.errors import UnsupportedModelError

NAME = "sinksweep"
"""Name of the implementation in transformers' registries."""


@dataclass(frozen=True)
class LayerCall:
    """What one layer asks of the attention, before any rotation.

    query: [batch, heads, n, head_dim]; key and value: [batch, kv_heads, n, head_dim].
    """

    layer: int
    query: Tensor
    key: Tensor
    value: Tensor
    scaling: float
    softcap: float | None
    sliding_window: int | None


class AttentionPass(Protocol):
    """One way of running a model: parallel chunks, recomputed windows or a ring-buffer decode."""

    def attend(self, call: LayerCall) -> Tensor:
        """Return the attention output, [batch, heads, n, head_dim]."""


_active: ContextVar[AttentionPass] = ContextVar("sinksweep_attention_pass")


@contextmanager
def using(attention_pass: AttentionPass) -> Iterator[None]:
    """Let the models called inside the block attend through this pass."""
    token = _active.set(attention_pass)
    try:
        yield
    finally:
        _active.reset(token)


def install(model: PreTrainedModel) -> None:
    """Switch a model to our attention, and make sure that every layer of it arrives here.

    Raises `UnsupportedModelError` if a layer does not go through transformers' interface (which
    alone would only warn, and results would be silently wrong), or mixes tokens by other means.
    """
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if foreign := kinds - {"full_attention", "sliding_attention"}:
        raise UnsupportedModelError(
            f"{type(model).__name__} has layers of kind {', '.join(sorted(foreign))}, which keep a "
            "state that is not a cache of keys (see docs/models.md)"
        )
    switch(model, NAME)
    if _layers_reached(model) != set(range(config.num_hidden_layers)):
        raise UnsupportedModelError(
            f"the attention of {type(model).__name__} does not go through transformers' "
            "AttentionInterface, so its keys cannot be streamed (see docs/models.md)"
        )


def switch(model: PreTrainedModel, implementation: str) -> None:
    """Choose the attention implementation by name: ours, or transformers' `eager`.

    Set in the configuration itself: `set_attn_implementation` declines for classes that are not
    marked for it, though their layers may well use the interface. `install` checks that they do.
    """
    for module in model.modules():
        if isinstance(module, PreTrainedModel):
            module.config._attn_implementation = implementation  # noqa: SLF001 the only setter


class _Roll:
    """A pass that only notes which layers call."""

    def __init__(self) -> None:
        self.layers: set[int] = set()

    def attend(self, call: LayerCall) -> Tensor:
        """Note the layer and return its values, unmixed."""
        self.layers.add(call.layer)
        groups = call.query.shape[1] // call.value.shape[1]
        return call.value.repeat_interleave(groups, dim=1)


def _layers_reached(model: PreTrainedModel) -> set[int]:
    roll = _Roll()
    device = model.get_input_embeddings().weight.device
    ids = torch.zeros((1, 2), dtype=torch.int64, device=device)
    try:
        with torch.inference_mode(), using(roll):
            run(model, ids)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        raise UnsupportedModelError(
            f"{type(model).__name__} cannot be run with an attention of ours ({error})"
        ) from error
    return roll.layers


def run(model: PreTrainedModel, ids: Tensor, keep: int | Tensor = 0) -> Tensor:
    """Return the logits of token ids [batch, n] through the active pass.

    keep: how many last positions (0: all) or which indices get logits; [batch, kept, vocab].
    All positions are given as 0, so that queries and keys arrive unrotated; a ready-made 4D mask
    keeps transformers from building one.
    """
    zeros = torch.zeros_like(ids)
    no_mask = torch.zeros((1, 1, 1, 1), dtype=torch.float32, device=ids.device)
    output = model(
        input_ids=ids,
        attention_mask=no_mask,
        position_ids=zeros,
        use_cache=False,
        logits_to_keep=keep,
    )
    logits: Tensor = output.logits
    return logits


def weigh(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    call: LayerCall,
    *,
    sink_query: Tensor | None = None,
    n_sink: int = 0,
    mask: Tensor | None = None,
) -> Tensor:
    """Return softmax(scores) @ value.

    query: [batch, heads, n, head_dim]; key, value: [batch, kv_heads, m, head_dim], all rotated.
    sink_query: the query rotated for the first `n_sink` keys, whose scores it replaces.
    mask: additive, float32 or the query's dtype, [n, m]; None: every key is visible.
    """
    batch, heads, n, _ = query.shape
    kv_heads, m = key.shape[1], key.shape[2]
    scores = folded_scores(query, key, call.scaling)
    if sink_query is not None and n_sink:
        to_sinks = folded_scores(sink_query, key[:, :, :n_sink], call.scaling)
        scores[..., :n_sink] = to_sinks
    if call.softcap is not None:
        scores = torch.tanh(scores / call.softcap) * call.softcap
    if mask is not None:
        scores.view(-1, n, m).add_(mask)
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(value.dtype)
    mixed = torch.bmm(weights, value.reshape(batch * kv_heads, m, value.shape[-1]))
    return mixed.view(batch, heads, n, value.shape[-1])


def folded_scores(query: Tensor, key: Tensor, scaling: float) -> Tensor:
    """Return the scores of [batch, heads, n, head_dim] against [batch, kv_heads, m, head_dim].

    Heads that share a key (grouped-query attention) are folded into rows, so that no key is
    repeated: [batch * kv_heads, heads // kv_heads * n, m].
    """
    batch, heads, n, head_dim = query.shape
    kv_heads = key.shape[1]
    rows = query.reshape(batch * kv_heads, heads // kv_heads * n, head_dim)
    return torch.bmm(rows, key.flatten(0, 1).transpose(1, 2)).mul_(scaling)


def _dispatch(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **options: Any,
) -> tuple[Tensor, None]:
    """Carry one layer's call to the active pass (signature of transformers' interface)."""
    call = LayerCall(
        layer=int(module.layer_idx),  # type: ignore[arg-type]
        query=query,
        key=key,
        value=value,
        scaling=query.shape[-1] ** -0.5 if scaling is None else float(scaling),
        softcap=options.get("softcap"),
        sliding_window=options.get("sliding_window"),
    )
    return _active.get().attend(call).transpose(1, 2).contiguous(), None


def _no_mask(*_: Any, **__: Any) -> None:
    """Build no mask: the passes know what is visible."""


AttentionInterface.register(NAME, _dispatch)
AttentionMaskInterface.register(NAME, _no_mask)
