"""Where the attention of a model goes: to each of the first positions, and to the rest.

A head that attends to the first token, whatever that token says, is parking attention it has no
use for; evicting that token is what makes `window` fail (Xiao et al., arXiv 2309.17453). The
measure is that of Gu et al., arXiv 2410.10781: the attention probability on position 0, averaged
over queries and texts, for every layer and head, and the share of heads above a threshold of 0.3.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from workers.attention.interface import LayerCall, run, using
from workers.attention.rotary import Rotary, rotate
from workers.attention.visibility import DENSE, additive_mask, layer_visibility
from workers.contract.errors import UnsupportedModelError
from workers.models.loading import LoadedModel

SINK_THRESHOLD = 0.3
"""A head whose mean attention to position 0 is above this is a sink head (Gu et al.)."""

SINK_TOKENS = 256
"""Tokens of each text that are measured, unless told otherwise."""


FIRST_POSITIONS = 8
"""Positions whose attention is told apart; all others are one more entry, the last."""

MOST_TEXTS = 16
"""Texts of an evaluation that are measured."""


@dataclass(frozen=True)
class SinkStrength:
    """Mean attention by text, layer and head, float64, on the CPU.

    by_text: [texts, layers, heads, FIRST_POSITIONS + 1], the last entry for all other positions;
    the entries of a head add up to 1.
    weights: int64 [texts], the queries that each text has.
    """

    by_text: Tensor
    weights: Tensor

    @property
    def attention(self) -> Tensor:
        """Mean over the queries of all texts, to position 0: [layers, heads]."""
        share = self.weights.double() / self.weights.sum()
        return (self.by_text[..., 0] * share[:, None, None]).sum(0)

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
    by_text = []
    for text in measured:
        attention = _SinkPass(loaded.rotary, len(text), loaded.device)
        with torch.inference_mode(), using(attention):
            run(loaded.model, text[None].to(loaded.device), keep=1)
        layers = [attention.means[layer] for layer in sorted(attention.means)]
        by_text.append(torch.stack(layers).cpu())
    return SinkStrength(torch.stack(by_text), torch.tensor([len(text) - 1 for text in measured]))


def attention_columns(loaded: LoadedModel, texts: Sequence[Tensor]) -> dict[str, Any]:
    """Return the columns of `measure: [attention]`, of the first `MOST_TEXTS` texts.

    The whole causal attention over the first `SINK_TOKENS` tokens of each: a property of model and
    text, whatever the method. Raises what `sink_strength` raises.
    """
    found = sink_strength(loaded, texts[:MOST_TEXTS])
    n_texts, n_layers, n_heads, _ = found.by_text.shape
    return {
        "attention_texts": n_texts,
        "attention_layers": n_layers,
        "attention_heads": n_heads,
        "attention_tokens": SINK_TOKENS,
        "attention_mean": found.by_text.flatten().tolist(),
    }


class _SinkPass:
    """Dense causal attention over one text that notes where each head's attention goes."""

    def __init__(self, rotary: Rotary, length: int, device: torch.device) -> None:
        self.means: dict[int, Tensor] = {}
        """Per layer: mean attention, float64 [heads, FIRST_POSITIONS + 1]."""
        self._rotary = rotary
        self._positions = torch.arange(length, device=device)
        self._angles = rotary.angles(self._positions)

    def attend(self, call: LayerCall) -> Tensor:
        """Attend [1, heads, length, head_dim] causally and note where the attention goes."""
        angles = self._angles[self._rotary.of_layer[call.layer]]
        heads = call.query.shape[1]
        key = rotate(call.key, angles).repeat_interleave(heads // call.key.shape[1], dim=1)
        value = call.value.repeat_interleave(heads // call.value.shape[1], dim=1)
        scores = (rotate(call.query, angles) @ key.mT).float() * call.scaling
        if call.softcap is not None:
            scores = call.softcap * torch.tanh(scores / call.softcap)
        rule = layer_visibility(DENSE, self._rotary.window(call.layer))
        scores = scores + additive_mask(self._positions, self._positions, rule, torch.float32)
        if call.sink_logits is not None:  # they take their share, which goes to no position
            column = call.sink_logits.float().view(1, heads, 1, 1).expand(*scores.shape[:3], 1)
            scores = torch.cat([scores, column], dim=-1)
        probabilities = scores.softmax(-1)[..., : len(self._positions)]
        mean = probabilities[0, :, 1:].double().mean(1)  # the query at 0 sees nothing else
        first = torch.nn.functional.pad(mean, (0, FIRST_POSITIONS))[:, :FIRST_POSITIONS]
        rest = mean[:, FIRST_POSITIONS:].sum(-1, keepdim=True)
        self.means[call.layer] = torch.cat([first, rest], dim=-1)
        return probabilities.to(value.dtype) @ value
