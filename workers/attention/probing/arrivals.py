"""One look at a model: what arrives at its attention when values pass on unmixed."""

from dataclasses import dataclass, field

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


def arrived(model: PreTrainedModel, position: int) -> list[LayerCall]:
    """Return what arrives in every layer for some tokens that all stand at one position."""
    embeddings = model.get_input_embeddings()
    step = max(1, embeddings.num_embeddings // (TOKENS + 1))
    ids = torch.arange(1, TOKENS + 1, device=embeddings.weight.device)[:, None] * step
    ids = ids % embeddings.num_embeddings
    no_mask = torch.zeros((1, 1, 1, 1), device=ids.device)
    arrivals = Arrivals()
    with using(arrivals):
        forward(model, ids, torch.full_like(ids, position), attention_mask=no_mask)
    return arrivals.calls
