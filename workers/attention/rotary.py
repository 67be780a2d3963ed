"""Rotary positions applied by us, at any position, with float64 angles.

A model called with `position_ids` of zero leaves queries and keys unrotated (cos 0 = 1,
sin 0 = 0, times the model's own attention scaling, which thereby stays in). The attention then
rotates them itself: a key once, at its true position; a query at its true position for the
recent keys and at min(t, B) for the sinks. Su et al., RoFormer, arXiv 2104.09864. How a layer
places its heads is not believed but found by running it (`workers/attention/probing/probe.py`).

Float32 angles would be off by 4e-3 rad at position 65K and by 0.24 rad at 4M.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from workers.contract.errors import UnsupportedModelError

ROUNDING = {torch.float32: 2e-4, torch.float16: 6e-3, torch.bfloat16: 3e-2}
"""Largest difference of a rotated vector from the model's own, relative to its length."""
ANGLE_ROUNDING = 1e-7
"""Per position: models compute their angles in float32, which rounds them by 6e-8 at most. Three
times that hid where dynamic frequencies begin to change beyond 131,072 positions."""
LENGTHENED = {torch.float32: 1e-4, torch.float16: 2e-3, torch.bfloat16: 1.5e-2}
"""Largest change of a vector's length; a rotation has none, a scaled query has."""


@dataclass(frozen=True, eq=False)
class Placement:
    """How a layer rotates its queries and keys.

    frequency: float64 [n_pairs], radians per position, negative for the other direction; empty
    for a layer without positions. start: first rotated component of a head (behind it, in latent
    attention). interleaved: pairs are neighbours (GPT-J) and not half a vector apart (GPT-NeoX).
    """

    frequency: Tensor
    start: int = 0
    interleaved: bool = False

    def angles(self, positions: Tensor) -> "Angles":
        """Return the angles at int64 positions [n]."""
        frequency = self.frequency.to(positions.device)
        radians = positions.to(torch.float64)[:, None] * frequency[None, :]
        return Angles(radians.cos().float(), radians.sin().float(), self.start, self.interleaved)


NO_POSITIONS = Placement(torch.empty(0, dtype=torch.float64))
"""Layers that know no positions but the causal order (NoPE)."""


@dataclass(frozen=True)
class Angles:
    """cos and sin at some positions, float32, of shape [n_positions, n_pairs], and their place."""

    cos: Tensor
    sin: Tensor
    start: int = 0
    interleaved: bool = False

    def rows(self, index: Tensor) -> "Angles":
        """Return the rows at these indices (int64, any device-side value)."""
        return replace(
            self, cos=self.cos.index_select(0, index), sin=self.sin.index_select(0, index)
        )


@dataclass(frozen=True, eq=False)
class Rotary:
    """What the layers of a model do with positions. A layer is a call of the attention, in order.

    placements: the distinct ones; of_layer: which of them each layer uses.
    windows: each layer's own sliding window, in keys, the query's own included; None: none.
    limit: positions 0 … limit - 1 are placed this way; None: as many as were looked at.
    recurrent: other layers carry a state of their own from token to token. one_pass: the model
    does not continue it over several tokens at once, so a text is one chunk.
    """

    placements: Sequence[Placement]
    of_layer: Sequence[int]
    windows: Sequence[int | None] = field(default=())
    limit: int | None = None
    recurrent: bool = False
    one_pass: bool = False

    def angles(self, positions: Tensor) -> tuple[Angles, ...]:
        """Return one `Angles` per placement for int64 positions [n]."""
        return tuple(placement.angles(positions) for placement in self.placements)

    def window(self, layer: int) -> int | None:
        """Return a layer's own sliding window."""
        return self.windows[layer] if self.windows else None

    def refuse_beyond(self, n_positions: int) -> None:
        """Raise `UnsupportedModelError` for more positions than the placements hold for."""
        if self.limit is not None and n_positions > self.limit:
            raise UnsupportedModelError(
                f"this model places queries and keys otherwise from position {self.limit} on "
                f"(length-dependent frequencies or scaled queries), and {n_positions} positions "
                f"are needed: choose n_sink + window_size < {self.limit}, or for dense "
                f"max_tokens <= {self.limit}"
            )


def rotate(states: Tensor, angles: Angles) -> Tensor:
    """Rotate [..., n_positions, head_dim]; what lies outside the rotated part passes.

    Computed in float32 and returned in the dtype of `states`.
    """
    pairs, start = angles.cos.shape[-1], angles.start
    if pairs == 0:
        return states
    stop = start + 2 * pairs
    if angles.interleaved:
        first, second = states[..., start:stop:2].float(), states[..., start + 1 : stop : 2].float()
    else:
        first, second = states[..., start : start + pairs], states[..., start + pairs : stop]
        first, second = first.float(), second.float()
    parts = [
        (first * angles.cos - second * angles.sin).to(states.dtype),
        (second * angles.cos + first * angles.sin).to(states.dtype),
    ]
    if angles.interleaved:
        parts = [torch.stack(parts, dim=-1).flatten(-2)]
    if start:
        parts.insert(0, states[..., :start])
    if stop < states.shape[-1]:
        parts.append(states[..., stop:])
    return torch.cat(parts, dim=-1)


def candidates(frequencies: Sequence[Tensor], head_dim: int) -> Iterator[Placement]:
    """Yield every placement that a layer with heads of this size may have.

    No positions, or one of the frequency vectors, in either direction, either layout, at the
    beginning of a head or at its end.
    """
    yield NO_POSITIONS
    for frequency in frequencies:
        behind = head_dim - 2 * len(frequency)
        for start in sorted({0, behind}) if behind >= 0 else ():
            for interleaved in (False, True):
                yield Placement(frequency, start, interleaved)
                yield Placement(-frequency, start, interleaved)


def frequencies_of(model: nn.Module) -> list[Tensor]:
    """Return the distinct rotary frequency vectors of a model, float64."""
    found: list[Tensor] = []
    for name, buffer in model.named_buffers():
        if not name.endswith("inv_freq") or buffer.ndim != 1:
            continue
        if buffer.dtype not in (torch.float32, torch.float64):
            raise UnsupportedModelError("the rotary frequencies were rounded to half precision")
        if not any(torch.equal(buffer.double(), other) for other in found):
            found.append(buffer.detach().double())
    return found


def stated_lengths(config: Any) -> set[int]:
    """Return positions just below, above and far above the lengths that a configuration states."""
    stated = {getattr(config, "max_position_embeddings", None)}
    rope = getattr(config, "rope_parameters", None)
    by_kind = rope.values() if isinstance(rope, dict) else ()  # of layers (Gemma 3)
    for settings in (rope, getattr(config, "__dict__", None), *by_kind):
        if isinstance(settings, dict):
            stated |= {settings.get("original_max_position_embeddings")}
    lengths = {length for length in stated if isinstance(length, int) and length < 10**6}
    return {
        position for length in lengths for position in (length - 1, length, length + 1, 2 * length)
    }


def unexplained(placement: Placement, at_zero: Tensor, there: Tensor, position: int) -> float:
    """Return what a placement leaves of the difference between two positions; 1 is allowed.

    at_zero, there: what arrives for the same token at position 0 and at this one, [..., head_dim].
    """
    angles = placement.angles(torch.tensor([position], device=there.device))
    allowed = ROUNDING[there.dtype] + ANGLE_ROUNDING * position
    here, moved = at_zero.float(), there.float()
    longer = float((moved.norm() / here.norm() - 1).abs()) / LENGTHENED[there.dtype]
    return max(relative_distance(rotate(here, angles), moved) / allowed, longer)


def relative_distance(one: Tensor, other: Tensor) -> float:
    """Return the length of a difference relative to the vectors' own; infinite for NaN."""
    one, other = one.float(), other.float()
    distance = float((one - other).norm() / one.norm().clamp(min=1e-30))
    return distance if distance == distance else float("inf")
