"""From documents to finished parts: the additive results of an evaluation, as they come.

A part is a document, or for `recompute` a span of about 30 s of work in one. Parts found in the
store are not computed again.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import numpy as np
import torch
from torch import Tensor

from workers.contract.errors import DeviceMemoryError
from workers.contract.rows import SCHEMA_VERSION
from workers.contract.spec import EvalSpec
from workers.contract.statistics import block_sums
from workers.latency.measure import visibility_of
from workers.models.loading import LoadedModel
from workers.quality.nll import Scored, recompute_nll, stream_nll, stream_nll_together
from workers.texts.tokens import TokenisedDocument

SPAN_SECONDS = 30.0
"""Work of `recompute` after which a span is handed over."""
SMALLEST_CHUNK = 16

Part = Mapping[str, Any]


@dataclass
class Chunk:
    """How many queries are run at once; shrinks when the device's memory does not hold them."""

    size: int

    def halve(self) -> None:
        """Halve the size, or raise `DeviceMemoryError` if it is the smallest already."""
        if self.size <= SMALLEST_CHUNK:
            raise DeviceMemoryError(
                f"out of memory with the smallest chunk of {self.size} queries: use a smaller "
                "window, dtype float16 or bfloat16, or a device with more memory"
            )
        self.size = max(SMALLEST_CHUNK, self.size // 2)


@dataclass(frozen=True)
class Scorer:
    """Scores the documents of one evaluation; `report` hears of every document's chunks."""

    loaded: LoadedModel
    spec: EvalSpec
    chunk: Chunk
    report: Callable[[int, Scored], None]

    def parts(self, index: int, document: TokenisedDocument, done: int) -> Iterator[Part | None]:
        """Yield the parts of a document, from its query number `done` on.

        None stands for a scored chunk that ends no part: a moment to report or to stop.
        """
        pieces: list[Scored] = []
        started = time.monotonic()
        for piece in self._scored(document.ids, done):
            self.report(index, piece)
            pieces.append(piece)
            long_enough = time.monotonic() - started > SPAN_SECONDS
            if long_enough and self.spec.method == "recompute":
                yield self._part(index, document, pieces)
                pieces, started = [], time.monotonic()
            else:
                yield None
        if pieces:
            yield self._part(index, document, pieces)

    def parts_together(
        self, documents: Sequence[tuple[int, TokenisedDocument]]
    ) -> Iterator[Part | None]:
        """Yield the parts of several short documents, run in one pass if the memory allows it."""
        rotary, device = self.loaded.rotary, self.loaded.device
        assert rotary is not None, "only such families are batched"
        ids = [document.ids.to(device) for _, document in documents]
        try:
            scored = stream_nll_together(self.loaded.model, rotary, ids, visibility_of(self.spec))
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            self.chunk.halve()
            for index, document in documents:
                yield from self.parts(index, document, 0)
            return
        for (index, document), piece in zip(documents, scored, strict=True):
            self.report(index, piece)
            yield self._part(index, document, [piece])

    def _scored(self, ids: Tensor, done: int) -> Iterator[Scored]:
        """Yield scored chunks; out of memory halves the chunk and goes on."""
        while done < len(ids) - 1:
            try:
                for piece in self._attempt(ids, done):
                    new = piece.nll[max(0, done - piece.start) :]
                    if len(new):  # a stream starts again from its beginning
                        done = piece.start + len(piece.nll)
                        yield Scored(done - len(new), new)
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
                self.chunk.halve()

    def _attempt(self, ids: Tensor, done: int) -> Iterator[Scored]:
        loaded, spec = self.loaded, self.spec
        ids = ids.to(loaded.device)
        if spec.method != "recompute":
            visibility = visibility_of(spec)
            return stream_nll(loaded.model, loaded.rotary, ids, visibility, self.chunk.size)
        assert spec.budget is not None
        return recompute_nll(
            loaded.model,
            loaded.rotary,
            ids,
            spec.budget,
            stride=spec.recompute_stride,
            batch_tokens=16 * self.chunk.size,
            span=range(done, len(ids)),
        )

    def _part(self, index: int, document: TokenisedDocument, pieces: Sequence[Scored]) -> Part:
        nll = np.concatenate([piece.nll.numpy() for piece in pieces]).astype(np.float64)
        start = pieces[0].start
        stop = start + len(nll)
        after = nll[max(0, first_evicting_query(self.spec) - start) :]
        return {
            "row_id": uuid4().hex,
            "run_id": self.spec.run_id,
            "schema_version": SCHEMA_VERSION,
            "document": index,
            "start": start,
            "stop": stop,
            "is_last": stop == len(document.ids) - 1,
            "document_tokens": len(document.ids),
            "document_bytes": document.n_bytes,
            "nll_sum": math.fsum(nll),
            "after_eviction_nll": math.fsum(after),
            "after_eviction_tokens": len(after),
            **block_sums(start, nll),
        }


def first_evicting_query(spec: EvalSpec) -> int:
    """Return B + 1, the first query that misses a token (a bound beyond any text for dense)."""
    return 2**62 if spec.budget is None else spec.budget + 1
