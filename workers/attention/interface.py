"""The attention that our passes give to a transformers model, and how it gets there.

transformers calls `ALL_ATTENTION_FUNCTIONS[name](module, query, key, value, ...)` in every layer.
We register one function under the name `sinksweep`; it hands the call to the pass that is active
in this context. A pass owns the keys and values and decides what is visible, so no cache object
of transformers takes part. Positions: see `workers/attention/rotary.py`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import count
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, Cache, DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, LinearAttentionCacheLayerMixin
from transformers.masking_utils import AttentionMaskInterface

from workers.contract.errors import UnsupportedModelError

NAME = "sinksweep"
"""Name of the implementation in transformers' registries."""


@dataclass(frozen=True)
class LayerCall:
    """What one layer asks of the attention, before any rotation.

    layer: number of the call within the forward (a layer may attend twice, as in DiffLlama).
    query: [batch, heads, n, head_dim]; key: [batch, kv_heads, n, head_dim];
    value: [batch, kv_heads, n, value_dim].
    sink_logits: one learned logit per head, [heads], that takes part in the softmax and has no
    value (gpt-oss).
    mask: what arrived as a mask; a pass that attends knows what is visible and ignores it.
    """

    layer: int
    query: Tensor
    key: Tensor
    value: Tensor
    scaling: float
    softcap: float | None
    sink_logits: Tensor | None = None
    mask: Tensor | None = None

    @property
    def fusable(self) -> bool:
        """Tell whether a fused kernel, which knows nothing but scores and values, may do it."""
        return self.plain and self.value.shape[-1] == self.query.shape[-1]

    @property
    def plain(self) -> bool:
        """Tell whether the weights are the softmax of the scores and nothing else."""
        return self.softcap is None and self.sink_logits is None


@dataclass(frozen=True)
class LayerShape:
    """Heads and sizes of one layer's attention, as they arrive.

    shared: its keys are those of an earlier layer, held once. plain: no capped scores, no sink
    logits.
    """

    heads: int
    kv_heads: int
    head_dim: int
    value_dim: int
    shared: bool
    plain: bool

    @property
    def fusable(self) -> bool:
        """Tell whether a fused kernel may do it."""
        return self.plain and self.value_dim == self.head_dim


class AttentionPass(Protocol):
    """One way of running a model: parallel chunks, recomputed windows or a ring-buffer decode."""

    def attend(self, call: LayerCall) -> Tensor:
        """Return the attention output, [batch, heads, n, head_dim]."""


_active: ContextVar[AttentionPass] = ContextVar("sinksweep_attention_pass")
_calls: ContextVar[Iterator[int]] = ContextVar("sinksweep_attention_calls")
MaskFunction = Callable[..., Tensor]
"""transformers' rule (batch, head, query, key) -> visible, on indices that broadcast."""
_masks: ContextVar[list[MaskFunction] | None] = ContextVar("sinksweep_masks", default=None)


@contextmanager
def using(attention_pass: AttentionPass) -> Iterator[None]:
    """Let the models called inside the block attend through this pass."""
    token = _active.set(attention_pass)
    try:
        yield
    finally:
        _active.reset(token)


@contextmanager
def noting_masks() -> Iterator[list[MaskFunction]]:
    """Collect the rules of the masks that a model asks for.

    Inside the block a mask is a tensor that holds nothing but 1 + the index of its rule.
    """
    noted: list[MaskFunction] = []
    token = _masks.set(noted)
    try:
        yield noted
    finally:
        _masks.reset(token)


def switch(model: PreTrainedModel, implementation: str) -> None:
    """Choose the attention implementation by name: ours, or transformers' `eager`.

    Set in the configuration itself: `set_attn_implementation` declines for classes that are not
    marked for it, though their layers may well use the interface. `install` checks that they do.
    """
    for module in model.modules():
        if isinstance(module, PreTrainedModel):
            module.config._attn_implementation = implementation  # noqa: SLF001 the only setter


def run(model: PreTrainedModel, ids: Tensor, keep: int = 0, states: Cache | None = None) -> Tensor:
    """Return the logits of token ids [batch, n] through the active pass.

    keep: how many last positions get logits (0: all); [batch, kept, vocab].
    states: the recurrent states of the tokens before, advanced in place; None: there are none.
    All positions are given as 0, so that queries and keys arrive unrotated; a ready-made 4D mask
    keeps transformers from building one.
    """
    no_mask = torch.zeros((1, 1, 1, 1), dtype=torch.float32, device=ids.device)
    return forward(model, ids, torch.zeros_like(ids), keep, attention_mask=no_mask, states=states)


def forward(
    model: PreTrainedModel,
    ids: Tensor,
    positions: Tensor,
    keep: int = 0,
    *,
    attention_mask: Tensor | None = None,
    states: Cache | None = None,
) -> Tensor:
    """Run a model on token ids at given positions, [batch, n] each, through the active pass."""
    n = ids.shape[1]
    kept: int | Tensor = 0
    if 0 < keep < n:  # indices: a number means something else where layers share keys (Gemma 4)
        kept = torch.arange(n - keep, n, device=ids.device)
    token = _calls.set(count())
    try:
        output = model(
            input_ids=ids,
            attention_mask=attention_mask,
            position_ids=positions,
            past_key_values=states,
            use_cache=states is not None,
            logits_to_keep=kept,
        )
    finally:
        _calls.reset(token)
    logits: Tensor = output.logits
    return logits


class _Passing(DynamicLayer):  # type: ignore[misc]
    """A cache layer that keeps no keys: the passes do."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Return what came in."""
        return key_states, value_states

    def get_seq_length(self) -> int:
        """Return that nothing is kept."""
        return 0


def empty_states(model: PreTrainedModel) -> Cache:
    """Return a cache of transformers that carries recurrent states alone, all empty."""
    cache = DynamicCache(config=model.config.get_text_config(decoder=True))
    for index, layer in enumerate(cache.layers):
        if not isinstance(layer, LinearAttentionCacheLayerMixin):
            cache.layers[index] = _Passing()
        elif isinstance(layer, DynamicLayer):  # state and keys in one layer
            layer.update = _Passing().update
    return cache


def state_tensors(states: Cache | None) -> list[Tensor]:
    """Return the tensors of all recurrent states, which steps write in place."""
    layers = [] if states is None else states.layers
    recurrent = [layer for layer in layers if isinstance(layer, LinearAttentionCacheLayerMixin)]
    held = [held for layer in recurrent for held in (layer.conv_states, layer.recurrent_states)]
    parts = [part.values() if isinstance(part, dict) else part for part in held]
    return [tensor for part in parts for tensor in part if tensor is not None]


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
    """Return softmax(scores) @ value, [batch, heads, n, value_dim].

    query: [batch, heads, n, head_dim]; key: [batch, kv_heads, m, head_dim], all rotated.
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
    weights = _softmax(scores, call.sink_logits, kv_heads).to(value.dtype)
    mixed = torch.bmm(weights, value.reshape(batch * kv_heads, m, value.shape[-1]))
    return mixed.view(batch, heads, n, value.shape[-1])


def _softmax(scores: Tensor, sink_logits: Tensor | None, kv_heads: int) -> Tensor:
    """Return the softmax of folded scores in float32; learned sink logits take their share."""
    if sink_logits is None:
        return torch.softmax(scores, dim=-1, dtype=torch.float32)
    per_row = sink_logits.float().view(kv_heads, -1, 1)
    batch, rows = scores.shape[0] // kv_heads, scores.shape[1] // per_row.shape[1]
    column = per_row.expand(-1, -1, rows).reshape(1, kv_heads, -1, 1)
    column = column.expand(batch, -1, -1, -1).reshape(*scores.shape[:2], 1)
    both = torch.cat([scores.float(), column], dim=-1)
    return torch.softmax(both, dim=-1)[..., :-1]


def folded_scores(query: Tensor, key: Tensor, scaling: float) -> Tensor:
    """Return the scores of [batch, heads, n, head_dim] against [batch, kv_heads, m, head_dim].

    Heads that share a key (grouped-query attention) are folded into rows, so that no key is
    repeated: [batch * kv_heads, heads // kv_heads * n, m].
    """
    batch, heads, n, head_dim = query.shape
    kv_heads = key.shape[1]
    rows = query.reshape(batch * kv_heads, heads // kv_heads * n, head_dim)
    return torch.bmm(rows, key.flatten(0, 1).transpose(1, 2)).mul_(scaling)


KNOWN_OPTIONS = frozenset({"position_ids", "s_aux", "cache_position", "logits_to_keep"})
"""Tensors that a layer may give its attention; any other would be left out by us.

The last is our own choice of rows, which some models hand down to every layer.
"""
WHAT_OPTIONS_DO = {
    "indices": "chooses the keys that a query sees by a learned index",
    "position_bias": "adds to the scores by how far away a key is",
}


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
    for name, option in options.items():
        if isinstance(option, Tensor) and name not in KNOWN_OPTIONS:
            does = WHAT_OPTIONS_DO.get(name, "changes what a query sees")
            raise UnsupportedModelError(
                f"{type(module).__name__} gives its attention {name!r}, which {does}, and which "
                "a cache of recent keys would leave out (see docs/models.md)"
            )
    call = LayerCall(
        layer=next(_calls.get()),
        query=query,
        key=key,
        value=value,
        scaling=query.shape[-1] ** -0.5 if scaling is None else float(scaling),
        softcap=options.get("softcap"),
        sink_logits=options.get("s_aux"),
        mask=attention_mask,
    )
    return _active.get().attend(call).transpose(1, 2).contiguous(), None


def _mask(*_: Any, **options: Any) -> Tensor | None:
    """Build no mask: the passes know what is visible. Note its rule where one is looking."""
    noted = _masks.get()
    if noted is None:
        return None
    noted.append(options["mask_function"])
    shape = (1, 1, options["q_length"], options["kv_length"])
    return torch.full(shape, float(len(noted)), device=options["device"])


AttentionInterface.register(NAME, _dispatch)
AttentionMaskInterface.register(NAME, _mask)
