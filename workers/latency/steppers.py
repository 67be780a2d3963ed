"""One decoded token at a time, each method in its own way; what the decode timing runs.

A step whose work does not change from token to token names the tensors that it changes in place,
so that it can be recorded once and replayed (`workers/latency/replay.py`).
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from workers.attention.interface import run, using
from workers.attention.native import NativeDecoder
from workers.attention.ring import RingPass
from workers.attention.windows import window_logits
from workers.models.loading import LoadedModel


class Stepper(Protocol):
    """Runs the queries of a span one by one; `reset` goes back to the first."""

    def step(self) -> None:
        """Run the next query."""

    def reset(self) -> None:
        """Go back to the first query of the span."""


@runtime_checkable
class Recordable(Stepper, Protocol):
    """A stepper whose `forward` is the same work on the same memory for every token."""

    model: nn.Module

    def forward(self) -> Tensor:
        """Run the next query and return its logits, [vocab]; no value of a tensor is read."""

    def changed(self) -> Sequence[Tensor]:
        """Return the tensors outside the model that `forward` writes into, in place."""


class RingStepper:
    """`streaming` and `dense`: one token through the ring buffers."""

    def __init__(self, loaded: LoadedModel, ids: Tensor, span: range, ring: RingPass) -> None:
        self.model, self._ring = loaded.model, ring
        self._ids = ids[span.start : span.stop]
        self.logits: Tensor | None = None
        """Of the last query, [vocab]."""

    def step(self) -> None:
        """Run the next token."""
        self.logits = self.forward()

    def reset(self) -> None:
        """Restore the buffers."""
        self._ring.reset()

    def forward(self) -> Tensor:
        """Run the next token and return its logits, [vocab]."""
        with torch.inference_mode(), using(self._ring):
            self._ring.begin()
            token = self._ids.index_select(0, self._ring.step)
            logits = run(self.model, token[None], states=self._ring.recurrent)[0, 0]
            self._ring.end()
        return logits

    def changed(self) -> Sequence[Tensor]:
        """Return the buffers of the ring."""
        return self._ring.changed()


class WindowStepper:
    """`recompute`: a fresh forward over the whole window for every token."""

    def __init__(self, loaded: LoadedModel, ids: Tensor, span: range, budget: int) -> None:
        self.model, self._rotary = loaded.model, loaded.rotary
        self._ids = ids
        self._first = torch.arange(span.start - budget, span.start + 1, device=ids.device)
        self._before_text = max(0, budget - span.start)
        self._index, self._n_missing = self._first.clone(), self._before_text
        """Which tokens the next window holds, and how many of these the text does not have."""
        self.logits: Tensor | None = None
        """Of the last query, [vocab]."""

    def step(self) -> None:
        """Recompute the window of the next query."""
        self.logits = self.forward()

    def reset(self) -> None:
        """Go back to the first query."""
        self._index.copy_(self._first)
        self._n_missing = self._before_text

    def forward(self) -> Tensor:
        """Recompute the window of the next query and return its logits, [vocab]."""
        window = self._ids.index_select(0, self._index[self._n_missing :])
        logits = window_logits(self.model, self._rotary, window[None], keep=1)[0, 0]
        self._index += 1
        self._n_missing = max(0, self._n_missing - 1)
        return logits

    def changed(self) -> Sequence[Tensor]:
        """Return the window's token indices."""
        return [self._index]


class NativeStepper:
    """`streaming` and `dense` of a family that runs on its own attention."""

    def __init__(self, decoder: NativeDecoder, ids: Tensor, span: range) -> None:
        self._decoder, self._ids, self._span = decoder, ids, span
        self._start, self._query = decoder.snapshot(), span.start
        self.logits: Tensor | None = None

    def step(self) -> None:
        """Run the next token."""
        self.logits = self._decoder.step(self._ids[self._query : self._query + 1])
        self._query += 1

    def reset(self) -> None:
        """Restore the cache."""
        self._decoder.restore(self._start)
        self._query = self._span.start
