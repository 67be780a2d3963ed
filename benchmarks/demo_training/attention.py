"""Causal attention for training, and the loss that encourages a sink.

A softmax cannot attend to nothing. Large models learn over billions of tokens to park the
attention that a head has no use for on the first token, the only one that sees nothing but itself
(Xiao et al., arXiv 2309.17453; Gu et al., arXiv 2410.10781). A few million tokens are too few for
that to happen by itself (`docs/log.md`), so training adds a loss, ``-log`` of the attention
probability on position 0, averaged over the heads and queries of all layers but the first ones,
with a small weight. Whether position 0 holds BOS or an arbitrary token makes no difference to it.

The queries are computed in two halves, so that the first half never touches the keys of the
second: on a CPU this takes a third of the time of the fused kernel.
"""

import torch
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

FIRST_SINK_QUERY = 8
"""Queries before this one see so few tokens that their attention to position 0 says little."""

SMALLEST_PROBABILITY = 1e-5


class SinkAttention:
    """Attention for ``AttentionInterface`` that collects the sink loss of one forward pass."""

    NAME = "sink_training"

    def __init__(self, first_sink_layer: int) -> None:
        self._first_sink_layer = first_sink_layer
        self._losses: list[Tensor] = []
        self._masks: dict[tuple[int, torch.dtype, torch.device], Tensor] = {}
        ALL_ATTENTION_FUNCTIONS.register(self.NAME, self)

    def sink_loss(self) -> Tensor:
        """The mean ``-log p(position 0)`` since the last call, in nats; a scalar."""
        total = sum(self._losses, torch.zeros(())) / len(self._losses)
        self._losses.clear()
        return total

    def __call__(
        self,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        scaling: float,
        **_: object,
    ) -> tuple[Tensor, None]:
        """Attend causally; query, key, value: (batch, heads, T, d); result (batch, T, heads, d)."""
        batch, heads, length, width = query.shape
        keys, values = (
            x.to(value.dtype).reshape(batch * heads, length, width) for x in (key, value)
        )
        queries = query.to(value.dtype).reshape_as(keys)
        mask = self._mask(length, values)
        outputs = []
        for start, end in ((0, length // 2), (length // 2, length)):
            scores = torch.baddbmm(
                mask[start:end, :end].expand(batch * heads, -1, -1),
                queries[:, start:end],
                keys[:, :end].transpose(1, 2),
                alpha=scaling,
            )
            probabilities = scores.softmax(-1)
            outputs.append(torch.bmm(probabilities, values[:, :end]))
            if self._has_loss(module):
                self._collect(probabilities[:, max(0, FIRST_SINK_QUERY - start) :, 0])
        output = torch.cat(outputs, dim=1).view(batch, heads, length, width)
        return output.transpose(1, 2), None

    def _has_loss(self, module: nn.Module) -> bool:
        layer = module.layer_idx
        return module.training and isinstance(layer, int) and layer >= self._first_sink_layer

    def _collect(self, on_first: Tensor) -> None:
        self._losses.append(-(on_first.float() + SMALLEST_PROBABILITY).log().mean())

    def _mask(self, length: int, like: Tensor) -> Tensor:
        kind = (length, like.dtype, like.device)
        if kind not in self._masks:
            full = torch.full((length, length), float("-inf"), dtype=like.dtype, device=like.device)
            self._masks[kind] = full.triu(1)
        return self._masks[kind]
