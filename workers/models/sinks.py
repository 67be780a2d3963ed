"""How strong a model's attention sink is: the attention that its heads pay to position 0.

A head that attends to the first token, whatever that token says, is parking attention it has no
use for; evicting that token is what makes `window` fail (Xiao et al., arXiv 2309.17453). The
measure is that of Gu et al., arXiv 2410.10781: the attention probability on position 0, averaged
over queries and texts, for every layer and head, and the share of heads above a threshold of 0.3.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workers.attention.interface import LayerCall, run, using
from workers.attention.rotary import Angles, Rotary, rotate
from workers.attention.visibility import DENSE, additive_mask
from workers.contract.errors import UnsupportedModelError
from workers.models.loading import LoadedModel

SINK_THRESHOLD = 0.3
"""A head whose mean attention to position 0 is above this is a sink head (Gu et al.)."""

SINK_TOKENS = 256
"""Tokens of each text that are measured, unless told otherwise."""


@dataclass(frozen=True)
class SinkStrength:
    """The mean attention to position 0 of every head: float64 [layers, heads], on the CPU."""

    attention: Tensor

    @property
    def share_above(self) -> float:
        """Share of all heads whose mean attention to position 0 exceeds `SINK_THRESHOLD`."""
        return float((self.attention > SINK_THRESHOLD).double().mean())

    @property
    def mean(self) -> float:
        """Mean over all heads."""
        return float(self.attention.mean())


def sink_strength(
    loaded: LoadedModel, texts: Sequence[Tensor], *, tokens: int = SINK_TOKENS
) -> SinkStrength:
    """Measure the sink over texts of token ids (int64 [T], T >= 2), their first `tokens` each.

    Every query from position 1 on counts once. Queries at position 0 see nothing else and are left
    out. Raises `ValueError` if no text has a second token.
    """
    measured = [text[:tokens] for text in texts if len(text) > 1]
    if not measured or tokens < 2:
        raise ValueError("texts: at least one text of two tokens is needed to measure a sink")
    if loaded.rotary is None:
        raise UnsupportedModelError("the attention of this family cannot be looked into")
    attention = _SinkPass(loaded.rotary)
    for text in measured:
        attention.begin(len(text), loaded.device)
        with torch.inference_mode(), using(attention):
            run(loaded.model, text[None].to(loaded.device), keep=1)
    queries = sum(len(text) - 1 for text in measured)
    totals = [attention.totals[layer] for layer in sorted(attention.totals)]
    return SinkStrength(torch.stack(totals).cpu() / queries)


class _SinkPass:
    """Dense causal attention that adds up what each head pays to position 0."""

    def __init__(self, rotary: Rotary) -> None:
        self.totals: dict[int, Tensor] = {}
        """Per layer: summed attention to position 0, float64 [heads]."""
        self._rotary = rotary
        self._positions = torch.empty(0)
        self._angles: tuple[Angles, ...] = ()

    def begin(self, length: int, device: torch.device) -> None:
        """Prepare for one text of this many tokens."""
        self._positions = torch.arange(length, device=device)
        self._angles = self._rotary.angles(self._positions)

    def attend(self, call: LayerCall) -> Tensor:
        """Attend [1, heads, length, head_dim] causally and note the attention to position 0."""
        angles = self._angles[self._rotary.of_layer[call.layer]]
        groups = call.query.shape[1] // call.key.shape[1]
        key = rotate(call.key, angles).repeat_interleave(groups, dim=1)
        value = call.value.repeat_interleave(groups, dim=1)
        scores = (rotate(call.query, angles) @ key.mT).float() * call.scaling
        if call.softcap is not None:
            scores = call.softcap * torch.tanh(scores / call.softcap)
        mask = additive_mask(self._positions, self._positions, DENSE, torch.float32)
        probabilities = (scores + mask).softmax(-1)
        on_first = probabilities[0, :, 1:, 0].double().sum(-1)
        self.totals[call.layer] = self.totals.get(call.layer, torch.zeros_like(on_first)) + on_first
        return probabilities.to(value.dtype) @ value
