"""The attention of `recompute`: independent windows, each a fresh causal forward from 0.

Uses torch's fused causal attention, the strongest baseline at hand: a speedup over `recompute`
must not come from a slow `recompute`.
"""

import functools

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from workers.attention.interface import LayerCall, run, using, weigh
from workers.attention.native import native_window_logits
from workers.attention.rotary import Angles, Rotary, rotate
from workers.attention.visibility import DENSE, additive_mask, layer_visibility


class WindowPass:
    """Causal attention over a batch of windows of `length` tokens, positions 0 … length - 1."""

    def __init__(self, rotary: Rotary, length: int, device: torch.device) -> None:
        self.rotary = rotary
        self.length = length
        rotary.refuse_beyond(length)
        self._positions = torch.arange(length, device=device)
        self._angles: tuple[Angles, ...] = rotary.angles(self._positions)

    def attend(self, call: LayerCall) -> Tensor:
        """Attend [batch, heads, length, head_dim] causally within each window."""
        angles = self._angles[self.rotary.of_layer[call.layer]]
        query, key = rotate(call.query, angles), rotate(call.key, angles)
        own_window, mask = self.rotary.window(call.layer), None
        if own_window is not None and own_window < self.length:
            rule = layer_visibility(DENSE, own_window)
            mask = additive_mask(self._positions, self._positions, rule, query.dtype)
        if call.softcap is not None or call.sink_logits is not None:
            if mask is None:
                mask = additive_mask(self._positions, self._positions, DENSE, query.dtype)
            return weigh(query, key, call.value, call, mask=mask)
        return functional.scaled_dot_product_attention(
            query,
            key,
            call.value,
            attn_mask=mask,
            is_causal=mask is None,
            scale=call.scaling,
            enable_gqa=bool(query.shape[1] != key.shape[1]),  # a tensor while a step is traced
        )


def window_logits(model: PreTrainedModel, rotary: Rotary | None, rows: Tensor, keep: int) -> Tensor:
    """Return the last `keep` logits of fresh forwards over windows [batch, n] of token ids."""
    if rotary is None:
        return native_window_logits(model, rows, keep)
    with torch.inference_mode(), using(_window_pass(rotary, rows.shape[1], rows.device)):
        return run(model, rows, keep)


@functools.lru_cache(maxsize=4)
def _window_pass(rotary: Rotary, length: int, device: torch.device) -> WindowPass:
    """Keep the angles between windows of one length: they are no part of the forward."""
    return WindowPass(rotary, length, device)
