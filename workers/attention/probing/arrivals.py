"""One look at a model: what arrives at its attention when values pass on unmixed."""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from transformers import PreTrainedModel

from workers.attention.interface import LayerCall, forward, using
from workers.contract.errors import UnsupportedModelError

TOKENS = 4
"""How many tokens are looked at, each a text of its own."""


@dataclass
class Arrivals:
    """A pass that notes what arrives and passes the values on, unmixed."""

    calls: list[LayerCall] = field(default_factory=list)

    def attend(self, call: LayerCall) -> Tensor:
        """Note one layer's call."""
        if call.key.shape[2] != call.query.shape[2]:
            raise UnsupportedModelError("a layer attends to keys that are not those of the text")
        self.calls.append(call)
        groups = call.query.shape[1] // call.value.shape[1]
        return call.value.repeat_interleave(groups, dim=1)


def arrived(model: PreTrainedModel, *positions: int) -> list[list[LayerCall]]:
    """Return, for each position, what arrives in every layer for some tokens that stand there.

    One forward for all of them: frequencies that depend on the length are those of the largest.
    """
    embeddings = model.get_input_embeddings()
    step = max(1, embeddings.num_embeddings // (TOKENS + 1))
    ids = torch.arange(1, TOKENS + 1, device=embeddings.weight.device)[:, None] * step
    ids = (ids % embeddings.num_embeddings).repeat(len(positions), 1)
    where = torch.tensor(positions, device=ids.device).repeat_interleave(TOKENS)[:, None]
    no_mask = torch.zeros((1, 1, 1, 1), device=ids.device)
    arrivals = Arrivals()
    with using(arrivals):
        forward(model, ids, where, attention_mask=no_mask)
    blocks = [slice(n * TOKENS, (n + 1) * TOKENS) for n in range(len(positions))]
    return [[_rows(call, block) for call in arrivals.calls] for block in blocks]


def _rows(call: LayerCall, rows: slice) -> LayerCall:
    query, key, value = call.query[rows], call.key[rows], call.value[rows]
    return replace(call, query=query, key=key, value=value)
