"""Per-token negative log-likelihood of one document, under each method.

Logits are turned into float32 log-probabilities chunk by chunk and never kept. The size of a
chunk is a matter of memory and speed; it cannot change a result
(`tests/workers/quality/test_nll.py`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from workers.attention.chunked import CHUNK, ChunkedPass, passes
from workers.attention.interface import run, using
from workers.attention.native import native_stream_logits
from workers.attention.rotary import Rotary
from workers.attention.visibility import Visibility, recompute_windows
from workers.attention.windows import window_logits
from workers.contract.errors import NumericalError

SLICE = 256
"""Rows of logits that are turned into float32 log-probabilities at once."""


@dataclass(frozen=True)
class Scored:
    """NLL of the queries start … start + len(nll) - 1: float32 [n], nats, on the CPU."""

    start: int
    nll: Tensor

    @property
    def stop(self) -> int:
        """One past the last query."""
        return self.start + len(self.nll)


def stream_nll(
    model: PreTrainedModel,
    rotary: Rotary | None,
    ids: Tensor,
    visibility: Visibility,
    chunk: int = CHUNK,
) -> Iterator[Scored]:
    """Score all T - 1 queries of token ids [T] under `streaming` or `dense`, chunk by chunk.

    rotary: None for a family that runs token by token (`workers/attention/native.py`).
    """
    queries, targets = ids[:-1], ids[1:]
    if rotary is None:
        for query, logits in native_stream_logits(model, ids, visibility):
            yield _scored(query, logits[None], targets[query : query + 1])
        return
    for start, logits, _ in passes(model, rotary, queries, visibility, chunk):
        yield _scored(start, logits, targets[start : start + len(logits)])


def stream_nll_together(
    model: PreTrainedModel, rotary: Rotary, documents: Sequence[Tensor], visibility: Visibility
) -> list[Scored]:
    """Score all queries of several short documents, token ids [T_d] each, in one pass.

    Shorter ones are padded at the end, where no query of theirs looks.
    """
    n_queries = max(len(ids) for ids in documents) - 1
    rows = pad_sequence([ids[:-1] for ids in documents], batch_first=True)
    attention = ChunkedPass(rotary, visibility)
    attention.begin(n_queries, rows.device)
    with torch.inference_mode(), using(attention):
        logits = run(model, rows)
        return [
            _scored(0, logits[row, : len(ids) - 1], ids[1:]) for row, ids in enumerate(documents)
        ]


def recompute_nll(
    model: PreTrainedModel,
    rotary: Rotary | None,
    ids: Tensor,
    budget: int,
    *,
    stride: int = 1,
    batch_tokens: int = 4096,
    span: range | None = None,
) -> Iterator[Scored]:
    """Score the queries of token ids [T] with a fresh forward over each window.

    Windows of equal length are batched up to `batch_tokens` tokens. `span` holds the queries that
    are scored; None: all. The cost is about (B + 1) / stride token-forwards per query.
    """
    wanted = span or range(len(ids) - 1)
    windows = recompute_windows(wanted.stop, budget, stride, wanted.start)
    for group in _equal_shapes(windows, batch_tokens):
        _, end, scored = group[0]
        rows = torch.stack([ids[begin:stop] for begin, stop, _ in group])
        targets = torch.stack([ids[query + 1 : stop + 1] for _, stop, query in group])
        logits = window_logits(model, rotary, rows, end - scored)
        yield _scored(scored, logits.flatten(0, 1), targets.flatten())


def token_nll(logits: Tensor, targets: Tensor) -> Tensor:
    """Return -log softmax(logits)[target] in float32: [n, vocab], int64 [n] -> [n], nats."""
    slices = zip(torch.split(logits, SLICE), torch.split(targets, SLICE), strict=True)
    return torch.cat(
        [functional.cross_entropy(rows.float(), at, reduction="none") for rows, at in slices]
    )


def _scored(start: int, logits: Tensor, targets: Tensor) -> Scored:
    nll = token_nll(logits, targets).cpu()
    if not torch.isfinite(nll).all():
        # A NaN in one value reaches every query of its chunk: the chunk is all we can name.
        raise NumericalError(
            f"the losses of tokens {start + 1} to {start + len(nll)} hold NaN or infinity: so do "
            "the model's weights, or its activations in this dtype (try float32 or bfloat16)"
        )
    return Scored(start, nll)


_Window = tuple[int, int, int]


def _equal_shapes(windows: list[_Window], batch_tokens: int) -> Iterator[list[_Window]]:
    """Group consecutive windows of one shape (tokens, scored tokens) into batches."""
    group: list[_Window] = []
    for window in windows:
        fits = (len(group) + 1) * (window[1] - window[0]) <= batch_tokens
        if group and not (fits and _shape(window) == _shape(group[0])):
            yield group
            group = []
        group.append(window)
    if group:
        yield group


def _shape(window: _Window) -> tuple[int, int]:
    first, end, scored = window
    return end - first, end - scored
