"""The decode pass: one token at a time over preallocated ring buffers.

Every layer holds B + 1 slots: the S sinks, then a ring of W + 1 for the recent tokens and the
query's own key. A step writes one slot in place: nothing is concatenated, shifted or rotated a
second time; the query is rotated twice instead (docs/method.md). Everything that changes from
step to step is read from tables on the device through one index, so that a step can be captured
in a CUDA graph.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from workers.attention.chunked import LayerState, State
from workers.attention.interface import LayerCall, state_tensors, weigh
from workers.attention.rotary import Angles, Rotary, rotate
from workers.attention.visibility import Visibility, layer_visibility


class _Ring:
    """Slots of all layers that share one visibility, for the queries start … stop - 1."""

    def __init__(self, visibility: Visibility, start: int, stop: int, device: torch.device) -> None:
        self.visibility = visibility
        budget = visibility.budget
        self.n_slots = stop if budget is None else min(stop, budget + 1)
        self.n_sink = min(visibility.n_sink, self.n_slots)
        self.full = start >= self.n_slots - 1
        """Every slot is filled from the first step on."""
        self.mask: Tensor | None = None
        """Additive, [1, slots]; None where every slot is seen in every step."""
        if not self.full or visibility.own_window is not None:
            self.mask = torch.zeros((1, self.n_slots), device=device)
        self._start = start
        steps = range(start, stop)
        self._slots = slot_of(torch.tensor(steps, device=device), visibility)
        self._hidden_sinks = torch.tensor(
            [visibility.first_visible_sink(query) for query in steps], device=device
        )
        self._sinks = torch.arange(self.n_sink, device=device)
        self.slot = self._slots[:1]
        self.reset()

    @torch.inference_mode()
    def reset(self) -> None:
        """Hide the slots that no token before `start` has filled."""
        if self.mask is not None:
            self.mask.zero_()
            self.mask[:, min(self._start, self.n_slots) :] = float("-inf")

    def begin(self, step: Tensor) -> None:
        """Choose this step's slot, make it visible, and hide the sinks out of reach."""
        self.slot = self._slots.index_select(0, step)
        if self.mask is None:
            return
        self.mask.index_fill_(1, self.slot, 0.0)
        if self.visibility.own_window is not None:
            hidden = self._sinks < self._hidden_sinks.index_select(0, step)
            self.mask[:, : self.n_sink].masked_fill_(hidden, float("-inf"))


@dataclass(frozen=True)
class _Layer:
    """Buffers of one layer, [1, kv_heads, slots, dim], and the ring they belong to."""

    ring: _Ring
    keys: Tensor
    values: Tensor

    def restore(self, state: LayerState | None) -> None:
        """Put carried keys into their slots."""
        if state is not None:
            slots = slot_of(state.positions, self.ring.visibility)
            self.keys.index_copy_(2, slots, state.keys)
            self.values.index_copy_(2, slots, state.values)


class RingPass:
    """Decodes the queries start … stop - 1 of one stream, from the state before them.

    state: what is carried after `start` tokens (`state_before`); empty for start = 0.
    """

    def __init__(
        self,
        rotary: Rotary,
        visibility: Visibility,
        state: State,
        span: range,
        device: torch.device,
    ) -> None:
        self.rotary = rotary
        self.visibility = visibility
        self._state = state
        self._span = span
        self.recurrent = state.recurrent
        """Recurrent states, which the model advances in place with every step."""
        self._recurrent_before = [tensor.clone() for tensor in state_tensors(self.recurrent)]
        positions = torch.arange(span.start, span.stop, device=device)
        budget = visibility.budget
        rotary.refuse_beyond(visibility.sink_distance_position(span.stop - 1) + 1)
        self._at_query = rotary.angles(positions)
        self._at_sinks = rotary.angles(positions if budget is None else positions.clamp(max=budget))
        self._rings: dict[Visibility, _Ring] = {}
        self._layers: dict[int, _Layer] = {}
        self._step_angles: dict[tuple[int, int, int], Angles] = {}
        self.step = torch.zeros(1, dtype=torch.int64, device=device)
        """Index of the next step within the span, [1], on the device."""

    @torch.inference_mode()
    def reset(self) -> None:
        """Go back to the state before the first step (between repeats)."""
        self.step.zero_()
        for ring in self._rings.values():
            ring.reset()
        for index, layer in self._layers.items():
            layer.restore(self._state.layers.get(index))
        if self.recurrent is not None and not self._recurrent_before:
            self.recurrent.reset()
        pairs = zip(state_tensors(self.recurrent), self._recurrent_before, strict=False)
        for tensor, before in pairs:
            tensor.copy_(before)

    def begin(self) -> None:
        """Announce the next step; then the model is run on its one token, then `end`."""
        self._step_angles.clear()
        for ring in self._rings.values():
            ring.begin(self.step)

    def end(self) -> None:
        """Advance to the next step, on the device."""
        self.step += 1

    def changed(self) -> Sequence[Tensor]:
        """Return what a step writes into; complete once every layer has been called."""
        masks = [ring.mask for ring in self._rings.values() if ring.mask is not None]
        buffers = [part for layer in self._layers.values() for part in (layer.keys, layer.values)]
        return [self.step, *masks, *buffers, *state_tensors(self.recurrent)]

    def attend(self, call: LayerCall) -> Tensor:
        """Attend one query to the ring; [1, heads, 1, head_dim]."""
        layer = self._layer(call)
        ring = layer.ring
        heads, kv_heads = call.query.shape[1], call.key.shape[1]
        parts = [call.query, call.key, call.query] if ring.n_sink else [call.query, call.key]
        rotated = rotate(torch.cat(parts, dim=1), self._angles(call, ring))
        layer.keys.index_copy_(2, ring.slot, rotated[:, heads : heads + kv_heads])
        layer.values.index_copy_(2, ring.slot, call.value)
        return weigh(
            rotated[:, :heads],
            layer.keys,
            layer.values,
            call,
            sink_query=rotated[:, heads + kv_heads :] if ring.n_sink else None,
            n_sink=ring.n_sink,
            mask=ring.mask,
        )

    def _angles(self, call: LayerCall, ring: _Ring) -> Angles:
        """Return angles per row of [query, key, sink query]: [rows, 1, half], once a step."""
        which = self.rotary.of_layer[call.layer]
        n_own = call.query.shape[1] + call.key.shape[1]
        n_sink = call.query.shape[1] if ring.n_sink else 0
        rows = (which, n_own, n_sink)
        if rows not in self._step_angles:
            own = self._at_query[which].rows(self.step)
            sink = self._at_sinks[which].rows(self.step)
            self._step_angles[rows] = replace(
                own,
                cos=torch.cat([own.cos.expand(n_own, -1), sink.cos.expand(n_sink, -1)])[:, None],
                sin=torch.cat([own.sin.expand(n_own, -1), sink.sin.expand(n_sink, -1)])[:, None],
            )
        return self._step_angles[rows]

    def _layer(self, call: LayerCall) -> _Layer:
        if call.layer not in self._layers:
            visibility = layer_visibility(self.visibility, self.rotary.window(call.layer))
            if visibility not in self._rings:
                ring = _Ring(visibility, self._span.start, self._span.stop, call.key.device)
                ring.begin(self.step)
                self._rings[visibility] = ring
            ring = self._rings[visibility]
            layer = _Layer(ring, _buffer(call.key, ring), _buffer(call.value, ring))
            layer.restore(self._state.layers.get(call.layer))
            self._layers[call.layer] = layer
        return self._layers[call.layer]


def slot_of(positions: Tensor, visibility: Visibility) -> Tensor:
    """Return the slot of each position, int64 [n]: sinks first, then a ring of W + 1."""
    if visibility.window_size is None:
        return positions
    recent = visibility.n_sink + (positions - visibility.n_sink) % (visibility.window_size + 1)
    return torch.where(positions < visibility.n_sink, positions, recent)


def _buffer(states: Tensor, ring: _Ring) -> Tensor:
    batch, heads, _, head_dim = states.shape
    return states.new_zeros((batch, heads, ring.n_slots, head_dim))
