"""Ready-made decoders for the benchmarks: ours and those they are measured against.

All caches are full, so that every timed step evicts.
"""

import torch
from torch import Tensor

from benchmarks.concatenate import ConcatenateStepper
from benchmarks.plain_loop import Cache, PlainNeoX
from workers.attention.chunked import state_before
from workers.attention.ring import RingPass
from workers.attention.visibility import Visibility
from workers.contract.spec import EvalSpec
from workers.latency.steppers import RingStepper
from workers.models.loading import LoadedModel, load_model


def placed_model(model: str, dtype: str | None = None) -> LoadedModel:
    """Load onto the GPU if there is one; bfloat16 there and float32 on a CPU unless told."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = dtype or ("bfloat16" if device.type == "cuda" else "float32")
    spec = EvalSpec(model=model, dataset="random", max_tokens=2, method="streaming", dtype=dtype)
    return load_model(spec, device)


def random_ids(loaded: LoadedModel, n_tokens: int) -> Tensor:
    """Return token ids [n_tokens] on the model's device."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(loaded.vocab_size, (n_tokens,), generator=generator)
    return ids.to(loaded.device)


class PlainLoop:
    """The plain torch loop over a stream."""

    def __init__(self, loaded: LoadedModel, ids: Tensor, at: Visibility, cache: Cache) -> None:
        assert at.window_size is not None
        self._decoder = PlainNeoX(loaded.model, at.n_sink, at.window_size, cache)
        self._tokens: list[int] = ids.tolist()
        self.position = 0
        """Of the next token."""
        while self.position <= at.n_sink + at.window_size + 1:
            self.step()

    def step(self) -> Tensor:
        """Run the next token and return its logits, [vocab]."""
        logits = self._decoder.step(self._tokens[self.position], self.position)
        self.position += 1
        return logits


def concatenating(
    loaded: LoadedModel, ids: Tensor, visibility: Visibility, start: int
) -> ConcatenateStepper:
    """Return a stepper of the usual kind, at position `start`."""
    stepper = ConcatenateStepper(loaded, ids, visibility)
    for _ in range(start):
        stepper.step()
    stepper.mark()
    return stepper


def ring(loaded: LoadedModel, ids: Tensor, visibility: Visibility, span: range) -> RingStepper:
    """Return our stepper, at the first query of the span."""
    assert loaded.rotary is not None
    state = state_before(loaded.model, loaded.rotary, ids[: span.start], visibility)
    decoder = RingPass(loaded.rotary, visibility, state, span, loaded.device)
    return RingStepper(loaded, ids, span, decoder)
