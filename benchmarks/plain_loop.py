"""The token-by-token loop that the engine is measured against: plain torch, no framework.

GPT-NeoX decoding in functions and lists of weights. Two caches: `ring` is the fastest loop we know
how to write (in-place slots, nothing rotated twice), the honest opponent of the parallel pass;
`concatenate` is what existing scripts do: drop the oldest key, append the new one, and rotate the
whole cache anew by its positions in the cache.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

Cache = Literal["ring", "concatenate"]


@dataclass
class _Layer:
    """Weights of one layer and its cache, [heads, slots, head_dim]."""

    block: Any
    keys: Tensor
    values: Tensor


class PlainNeoX:
    """Streaming decode of a transformers GPT-NeoX model, one token at a time."""

    def __init__(self, model: Any, n_sink: int, window_size: int, cache: Cache) -> None:
        config = model.config
        self.heads = config.num_attention_heads
        self.head_dim = config.hidden_size // self.heads
        self.n_sink, self.window_size, self.cache = n_sink, window_size, cache
        self.inv_freq = model.gpt_neox.rotary_emb.inv_freq.double()
        self.model = model
        slots = n_sink + window_size + 1 if cache == "ring" else 0
        self.device = model.device
        size = (self.heads, slots, self.head_dim)
        empty = torch.zeros(size, dtype=model.dtype, device=self.device)
        self.layers = [
            _Layer(block, empty.clone(), empty.clone()) for block in model.gpt_neox.layers
        ]
        # As the scripts have it, no sine is computed twice: a table of the cache's positions.
        self._in_cache = self._angles(torch.arange(n_sink + window_size + 1, device=self.device))
        self._here = _rows(self._in_cache, 0)

    @torch.inference_mode()
    def step(self, token: int, position: int) -> Tensor:
        """Return the logits [vocab] after the token at this position of the stream."""
        decoder = self.model.gpt_neox
        hidden = decoder.embed_in.weight[token]
        if self.cache == "ring":
            self._here = self._angles(torch.tensor([position], device=self.device))
        for layer in self.layers:
            block = layer.block
            normed = _norm(hidden, block.input_layernorm)
            attended = _linear(self._attend(layer, normed, position), block.attention.dense)
            grown = functional.gelu(
                _linear(_norm(hidden, block.post_attention_layernorm), block.mlp.dense_h_to_4h)
            )
            hidden = hidden + attended + _linear(grown, block.mlp.dense_4h_to_h)
        return functional.linear(_norm(hidden, decoder.final_layer_norm), self.model.lm_head.weight)

    def _attend(self, layer: _Layer, hidden: Tensor, position: int) -> Tensor:
        fused = _linear(hidden, layer.block.attention.query_key_value)
        query, key, value = fused.view(self.heads, 1, 3 * self.head_dim).chunk(3, dim=-1)
        scores, values = (self._ring if self.cache == "ring" else self._concatenate)(
            layer, query, key, value, position
        )
        weights = torch.softmax(scores * self.head_dim**-0.5, dim=-1)
        return (weights @ values).reshape(-1)

    def _ring(
        self, layer: _Layer, query: Tensor, key: Tensor, value: Tensor, position: int
    ) -> tuple[Tensor, Tensor]:
        n_sink, budget = self.n_sink, self.n_sink + self.window_size
        slot = position
        if position >= n_sink:
            slot = n_sink + (position - n_sink) % (self.window_size + 1)
        layer.keys[:, slot] = _rotate(key, self._here)[:, 0]
        layer.values[:, slot] = value[:, 0]
        filled = min(position, budget) + 1
        scores = _rotate(query, self._here) @ layer.keys[:, :filled].mT
        if position > budget:
            to_sinks = _rotate(query, _rows(self._in_cache, budget))
            scores[..., :n_sink] = to_sinks @ layer.keys[:, :n_sink].mT
        return scores, layer.values[:, :filled]

    def _concatenate(
        self, layer: _Layer, query: Tensor, key: Tensor, value: Tensor, position: int
    ) -> tuple[Tensor, Tensor]:
        keys = torch.cat([layer.keys, key], dim=1)
        values = torch.cat([layer.values, value], dim=1)
        length = keys.shape[1]
        in_cache = [table[:length] for table in self._in_cache]
        rotated = _rotate(query, _rows(self._in_cache, length - 1))
        scores = rotated @ _rotate(keys, in_cache).mT
        layer.keys, layer.values = self._evicted(keys), self._evicted(values)
        return scores, values

    def _evicted(self, states: Tensor) -> Tensor:
        if states.shape[1] <= self.n_sink + self.window_size:
            return states
        return torch.cat([states[:, : self.n_sink], states[:, self.n_sink + 1 :]], dim=1)

    def _angles(self, positions: Tensor) -> list[Tensor]:
        """Return cos and sin, [n, half], from float64 angles."""
        radians = positions[:, None] * self.inv_freq[None]
        return [radians.cos().to(self.model.dtype), radians.sin().to(self.model.dtype)]


def _rotate(states: Tensor, angles: list[Tensor]) -> Tensor:
    cos, sin = angles
    half = cos.shape[-1]
    first, second = states[..., :half], states[..., half : 2 * half]
    rotated = [first * cos - second * sin, second * cos + first * sin]
    return torch.cat([*rotated, states[..., 2 * half :]], dim=-1)


def _rows(tables: list[Tensor], row: int) -> list[Tensor]:
    return [table[row : row + 1] for table in tables]


def _linear(hidden: Tensor, module: Any) -> Tensor:
    return functional.linear(hidden, module.weight, module.bias)


def _norm(hidden: Tensor, module: Any) -> Tensor:
    return functional.layer_norm(hidden, hidden.shape, module.weight, module.bias, module.eps)
