"""Rotary positions applied by us, at any position, with float64 angles.

A model called with `position_ids` of zero leaves queries and keys unrotated (cos 0 = 1,
sin 0 = 0, times the model's own attention scaling, which thereby stays in). The attention then
rotates them itself: a key once, at its true position; a query at its true position for the
recent keys and at min(t, B) for the sinks. Su et al., RoFormer, arXiv 2104.09864; half-split
layout as in GPT-NeoX and Llama.

Float32 angles would be off by 4e-3 rad at position 65K and by 0.24 rad at 4M.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from workers.contract.errors import UnsupportedModelError

LENGTH_DEPENDENT = frozenset({"dynamic", "longrope"})
"""Kinds of RoPE whose frequencies change with the length of the sequence."""


@dataclass(frozen=True)
class Angles:
    """cos and sin at some positions, float32, of shape [n_positions, rotary_dim // 2]."""

    cos: Tensor
    sin: Tensor

    def rows(self, index: Tensor) -> "Angles":
        """Return the rows at these indices (int64, any device-side value)."""
        return Angles(self.cos.index_select(0, index), self.sin.index_select(0, index))


class Rotary:
    """The rotary frequencies of a model, per layer.

    `frequencies` holds the distinct float64 vectors of shape [rotary_dim // 2]; `of_layer` says
    which of them each layer uses (models with two kinds of attention may have two).
    """

    def __init__(self, frequencies: Sequence[Tensor], of_layer: Sequence[int]) -> None:
        self.frequencies = tuple(frequencies)
        self.of_layer = tuple(of_layer)

    def angles(self, positions: Tensor) -> tuple[Angles, ...]:
        """Return one `Angles` per distinct frequency vector for int64 positions [n]."""
        return tuple(_angles(positions, frequency) for frequency in self.frequencies)


def rotate(states: Tensor, angles: Angles) -> Tensor:
    """Rotate [..., n_positions, head_dim] in half-split layout; partial rotary passes the rest.

    Computed in float32 and returned in the dtype of `states`.
    """
    half = angles.cos.shape[-1]
    first, second = states[..., :half].float(), states[..., half : 2 * half].float()
    parts = [
        (first * angles.cos - second * angles.sin).to(states.dtype),
        (second * angles.cos + first * angles.sin).to(states.dtype),
    ]
    if 2 * half < states.shape[-1]:
        parts.append(states[..., 2 * half :])
    return torch.cat(parts, dim=-1)


def rotary_of(model: nn.Module, n_layers: int) -> Rotary:
    """Find the rotary frequencies of a transformers model.

    Raises `UnsupportedModelError` for models without rotary positions or with frequencies that
    depend on the length of the sequence.
    """
    for module in model.modules():
        if buffers := _frequency_buffers(module):
            _refuse_length_dependent(module)
            return _rotary_from(module, buffers, n_layers)
    raise UnsupportedModelError(
        f"{type(model).__name__} has no rotary position embedding; streaming is exact only for "
        "models with half-split RoPE (see docs/models.md)"
    )


def _angles(positions: Tensor, frequency: Tensor) -> Angles:
    radians = positions.to(torch.float64)[:, None] * frequency.to(positions.device)[None, :]
    return Angles(radians.cos().float(), radians.sin().float())


def _frequency_buffers(module: nn.Module) -> dict[str, Tensor]:
    return {
        name: buffer
        for name, buffer in module.named_buffers(recurse=False)
        if name.endswith("inv_freq") and not name.endswith("original_inv_freq")
    }


def _refuse_length_dependent(module: nn.Module) -> None:
    kinds = getattr(module, "rope_type", "default")
    for kind in kinds.values() if isinstance(kinds, dict) else [kinds]:
        if kind in LENGTH_DEPENDENT:
            raise UnsupportedModelError(
                f"RoPE of type {kind!r} changes its frequencies with the sequence length; "
                "cached keys would need another rotation (see docs/models.md)"
            )


def _rotary_from(module: nn.Module, buffers: dict[str, Tensor], n_layers: int) -> Rotary:
    if any(buffer.dtype not in (torch.float32, torch.float64) for buffer in buffers.values()):
        raise UnsupportedModelError("the rotary frequencies were rounded to half precision")
    frequencies = [buffer.detach().to(torch.float64) for buffer in buffers.values()]
    if list(buffers) == ["inv_freq"]:
        return Rotary(frequencies, [0] * n_layers)
    kinds = [name.removesuffix("_inv_freq") for name in buffers]
    layer_types = getattr(getattr(module, "config", None), "layer_types", None) or []
    if len(layer_types) < n_layers or set(layer_types) - set(kinds):
        raise UnsupportedModelError(
            f"cannot tell which of the rotary frequencies {kinds} each layer uses"
        )
    return Rotary(frequencies, [kinds.index(kind) for kind in layer_types[:n_layers]])
