"""The parallel pass: a whole stream in chunks, exactly as if decoded token by token.

The hidden states of a streaming decoder depend on visible keys alone. So one causal pass over a
chunk of queries is the streaming result, if its attention is masked to the visible set, the keys
that later queries see are carried to the next chunk in every layer, keys are rotated once at
their true position, and the query is rotated twice: at t for recent keys, at min(t, B) for the
sinks (docs/method.md has the proof). Dense attention is the same pass without eviction.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import Cache, PreTrainedModel

from workers.attention.fused import Recent, Sinks, attend_fused, kernel_for
from workers.attention.interface import LayerCall, empty_states, run, using, weigh
from workers.attention.rotary import Angles, Rotary, rotate
from workers.attention.visibility import DENSE, Visibility, additive_mask, layer_visibility
from workers.contract.errors import UnsupportedModelError

CHUNK = 256
"""Queries per chunk that a CPU is fastest with; a device may prefer more."""

ONE_PASS = 8192
"""Most queries of a text that has to be run in one pass."""


@dataclass
class LayerState:
    """Keys and values carried by one layer, sorted by position.

    keys, values: [batch, kv_heads, m, head_dim], keys rotated; positions: int64 [m].
    """

    keys: Tensor
    values: Tensor
    positions: Tensor


@dataclass(frozen=True)
class State:
    """What a stream carries from token to token: of every layer, and recurrent states.

    layers: by number of the layer's call; recurrent: None if the model has no such state.
    """

    layers: dict[int, LayerState]
    recurrent: Cache | None = None


@dataclass(frozen=True)
class _Chunk:
    """What all layers share while one chunk runs; positions: int64 [n]."""

    positions: Tensor
    angles: tuple[Angles, ...]
    sink_angles: tuple[Angles, ...] | None
    masks: dict[tuple[Visibility, int], Tensor]


class ChunkedPass:
    """Attention over consecutive chunks of one stream, under one visibility."""

    def __init__(self, rotary: Rotary, visibility: Visibility) -> None:
        self.rotary = rotary
        self.visibility = visibility
        self.position = 0
        """Tokens already passed: the position of the next chunk's first query."""
        self.layers: dict[int, LayerState] = {}
        self._start = 0
        self._chunk: _Chunk | None = None

    def begin(self, n_queries: int, device: torch.device) -> None:
        """Announce the next chunk of `n_queries` tokens, to be run right after."""
        self._start, self.position = self.position, self.position + n_queries
        budget = self.visibility.budget
        self.rotary.refuse_beyond(
            min(self.position, self.position if budget is None else budget + 1)
        )
        positions = torch.arange(self._start, self.position, device=device)
        angles, sink_angles = self.rotary.angles(positions), None
        if budget is not None and self.visibility.n_sink and self.position - 1 > budget:
            # At min(t, B); for a chunk before that they would be the angles at t.
            sink_angles = self.rotary.angles(positions.clamp(max=budget))
        self._chunk = _Chunk(positions, angles, sink_angles, masks={})

    def attend(self, call: LayerCall) -> Tensor:
        """Attend one layer's chunk to the carried keys and to itself, then evict."""
        chunk = self._chunk
        assert chunk is not None, "begin() announces every chunk"
        which = self.rotary.of_layer[call.layer]
        rule = layer_visibility(self.visibility, self.rotary.window(call.layer))
        first = rule.first_restricted()
        # As long as no query misses a key, a shorter rule for the same keys.
        seen = DENSE if first is None or self.position <= first else rule
        keys, values, positions = rotate(call.key, chunk.angles[which]), call.value, chunk.positions
        if (carried := self.layers.get(call.layer)) is not None:
            keys = torch.cat([carried.keys, keys], dim=2)
            values = torch.cat([carried.values, values], dim=2)
            positions = torch.cat([carried.positions, positions])
        state = LayerState(keys, values, positions)
        query, sink_query = rotate(call.query, chunk.angles[which]), None
        if seen.n_sink and chunk.sink_angles is not None:
            sink_query = rotate(call.query, chunk.sink_angles[which])
        mixed = self._mixed(call, seen, state, query, sink_query)
        self.layers[call.layer] = evict(state, rule, self.position)
        return mixed

    def _mixed(
        self,
        call: LayerCall,
        seen: Visibility,
        state: LayerState,
        query: Tensor,
        sink_query: Tensor | None,
    ) -> Tensor:
        """Attend rotated queries to a layer's keys, by a fused kernel where that is possible."""
        n_sink, keys, values, chunk = seen.n_sink, state.keys, state.values, self._chunk
        assert chunk is not None

        def mask(first: int) -> Tensor:  # additive, [n, m]; layers with the same keys share it
            positions = state.positions[first:]
            identity = (seen, len(positions))
            if identity not in chunk.masks:
                made = additive_mask(chunk.positions, positions, seen, query.dtype)
                chunk.masks[identity] = made
            return chunk.masks[identity]

        kernel = None
        if call.fusable and seen.own_window is None and n_sink <= self._start:
            groups = query.shape[1] // call.key.shape[1]
            kernel = kernel_for(query.device, query.dtype, query.shape[-1], groups)
        if kernel is None:
            return weigh(
                query, keys, values, call, sink_query=sink_query, n_sink=n_sink, mask=mask(0)
            )
        recent = Recent(
            query,
            keys[:, :, n_sink:],
            values[:, :, n_sink:],
            call.scaling,
            seen.window_size,
            lambda: mask(n_sink),
        )
        if sink_query is None:
            return attend_fused(kernel, recent, None)
        sinks = Sinks(sink_query, keys[:, :, :n_sink], values[:, :, :n_sink])
        return attend_fused(kernel, recent, sinks)


def evict(state: LayerState, visibility: Visibility, next_query: int) -> LayerState:
    """Return what the queries from `next_query` on can still see of a layer's keys."""
    if visibility.window_size is None:
        return state
    first = visibility.oldest_recent(next_query)
    n_sinks = min(visibility.n_sink, len(state.positions))
    n_recent = min(next_query - first, len(state.positions) - n_sinks)
    kept = [slice(0, n_sinks), slice(len(state.positions) - n_recent, None)]
    # Slices of a larger tensor would keep all of it alive, so the kept keys are copied.
    return LayerState(
        torch.cat([state.keys[:, :, part] for part in kept], dim=2),
        torch.cat([state.values[:, :, part] for part in kept], dim=2),
        torch.cat([state.positions[part] for part in kept]),
    )


def passes(
    model: PreTrainedModel,
    rotary: Rotary,
    ids: Tensor,
    visibility: Visibility,
    chunk: int,
    keep: int = 0,
) -> Iterator[tuple[int, Tensor, State]]:
    """Run token ids [n] chunk by chunk; yield first query, logits [kept, vocab], state behind it.

    A recurrent state starts empty and is advanced in place by the model itself.
    """
    attention = ChunkedPass(rotary, visibility)
    state = State(attention.layers, empty_states(model) if rotary.recurrent else None)
    chunks = _chunks(len(ids), visibility, chunk)
    if rotary.one_pass:
        if len(ids) > ONE_PASS:  # more than memory can be expected to hold
            raise UnsupportedModelError(
                f"this model's recurrent state is exact only in one pass over a text, for which "
                f"{len(ids)} tokens are too many: choose max_tokens <= {ONE_PASS + 1}"
            )
        chunks = iter([(0, len(ids))] if len(ids) else [])
    for start, stop in chunks:
        attention.begin(stop - start, ids.device)
        with torch.inference_mode(), using(attention):
            logits = run(model, ids[None, start:stop], keep, state.recurrent)[0]
        yield start, logits, state


def state_before(
    model: PreTrainedModel,
    rotary: Rotary,
    ids: Tensor,
    visibility: Visibility,
    chunk: int = CHUNK,
) -> State:
    """Return what is carried after all of token ids [n]."""
    state = State({}, empty_states(model) if rotary.recurrent else None)
    for _, _, carried in passes(model, rotary, ids, visibility, chunk, keep=1):
        state = carried
    return state


def _chunks(n_queries: int, visibility: Visibility, chunk: int) -> Iterator[tuple[int, int]]:
    """Yield first and one past the last query of each chunk.

    The first one ends before anything is evicted, so that every later one begins behind the
    sinks, as a fused kernel wants it (`workers/attention/chunked.py`).
    """
    start, budget = 0, visibility.budget
    stop = chunk if budget is None else min(chunk, budget + 1)
    while start < n_queries:
        yield start, min(stop, n_queries)
        start, stop = stop, stop + chunk
