"""The cache of existing scripts, inside the same model code as ours: concatenate and re-rotate.

Keys are kept unrotated. Every step appends one key with `torch.cat`, rotates the whole cache anew
by its positions in the cache, and drops the oldest token behind the sinks with `torch.cat` again,
as in mit-han-lab/streaming-llm. As there, sines come from a table. A full cache is written back
into the same memory, so that the step can be recorded as ours can.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from workers.attention.interface import LayerCall, run, using, weigh
from workers.attention.rotary import Angles, Rotary, rotate
from workers.attention.visibility import Visibility
from workers.models.loading import LoadedModel


class ConcatenatePass:
    """Attention over a concatenated cache, [1, kv_heads, tokens, head_dim] per layer."""

    def __init__(self, rotary: Rotary, n_sink: int, budget: int, device: torch.device) -> None:
        self.n_sink, self.budget = n_sink, budget
        self.layers: dict[int, tuple[Tensor, Tensor]] = {}
        self._tables = rotary.angles(torch.arange(budget + 1, device=device))
        self._of_layer = rotary.of_layer

    def attend(self, call: LayerCall) -> Tensor:
        """Attend one query, then evict."""
        old = self.layers.get(call.layer)
        keys = call.key if old is None else torch.cat([old[0], call.key], dim=2)
        values = call.value if old is None else torch.cat([old[1], call.value], dim=2)
        table, length = self._tables[self._of_layer[call.layer]], keys.shape[2]
        mixed = weigh(
            rotate(call.query, _part(table, slice(length - 1, length))),
            rotate(keys, _part(table, slice(0, length))),
            values,
            call,
        )
        old_keys, old_values = old or (None, None)
        self.layers[call.layer] = (self._kept(keys, old_keys), self._kept(values, old_values))
        return mixed

    def _kept(self, states: Tensor, old: Tensor | None) -> Tensor:
        if states.shape[2] <= self.budget:
            return states
        parts = [states[:, :, : self.n_sink], states[:, :, self.n_sink + 1 :]]
        return torch.cat(parts, dim=2, out=old)


class ConcatenateStepper:
    """Runs the tokens of a stream one by one through a `ConcatenatePass`."""

    def __init__(self, loaded: LoadedModel, ids: Tensor, visibility: Visibility) -> None:
        assert loaded.rotary is not None
        assert visibility.budget is not None
        self.model, self._ids = loaded.model, ids
        self._pass = ConcatenatePass(
            loaded.rotary, visibility.n_sink, visibility.budget, loaded.device
        )
        self._next = torch.zeros(1, dtype=torch.int64, device=loaded.device)
        self._mark: list[Tensor] = []
        self.logits: Tensor | None = None
        """Of the last token, [vocab]."""

    @torch.inference_mode()
    def mark(self) -> None:
        """Make this the place that `reset` goes back to."""
        self._mark = [tensor.clone() for tensor in self.changed()]

    @torch.inference_mode()
    def reset(self) -> None:
        """Go back to the mark."""
        for tensor, marked in zip(self.changed(), self._mark, strict=True):
            tensor.copy_(marked)

    def step(self) -> None:
        """Run the next token."""
        self.logits = self.forward()

    def forward(self) -> Tensor:
        """Run the next token and return its logits, [vocab]."""
        with torch.inference_mode(), using(self._pass):
            logits = run(self.model, self._ids.index_select(0, self._next)[None])[0, 0]
            self._next += 1
        return logits

    def changed(self) -> Sequence[Tensor]:
        """Return the caches and the index of the next token."""
        return [self._next, *(part for layer in self._pass.layers.values() for part in layer)]


def _part(table: Angles, rows: slice) -> Angles:
    return Angles(table.cos[rows], table.sin[rows])
