"""From documents to finished parts: the additive results of an evaluation, as they come.

A part is a document, or for `recompute` a span of about 30 s of work in one. Parts found in the
store are not computed again.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import numpy as np
import torch
from torch import Tensor

from workers.attention.visibility import visibility_of
from workers.contract.cost import quality_forwards
from workers.contract.events import Assignment, PartDone, Progress
from workers.contract.rows import SCHEMA_VERSION
from workers.contract.spec import EvalSpec
from workers.contract.statistics import block_sums, perplexity
from workers.models.loading import LoadedModel
from workers.quality.chunks import Chunk, batches
from workers.quality.nll import Scored, recompute_nll, stream_nll, stream_nll_together
from workers.quality.results import quality_columns
from workers.quality.token_log import TokenLog
from workers.texts.tokens import TokenisedDocument

SPAN_SECONDS = 30.0
"""Work of `recompute` after which a span is handed over."""
Part = Mapping[str, Any]
PROGRESS_SECONDS = 0.5


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


class QualityRun:
    """The quality pass over all documents of one evaluation, parts from the store included."""

    def __init__(
        self,
        loaded: LoadedModel,
        spec: EvalSpec,
        documents: list[TokenisedDocument],
        chunk: Chunk,
        store_tokens: str | None,
    ) -> None:
        self.spec, self.documents = spec, documents
        self.parts: list[Mapping[str, Any]] = []
        self._tokens_done = 0
        self._nll_done = 0.0
        self._log = TokenLog(spec, store_tokens) if spec.save_token_nll else None
        self._scorer = Scorer(loaded, spec, chunk, self._heard)
        self._reported = time.monotonic()

    def events(self, assignment: Assignment) -> Iterator[Progress | PartDone]:
        """Score what the store does not hold; hand over every part but the very last."""
        self._take_over(assignment)
        done = [0] * len(self.documents)
        for stored in self.parts:
            done[stored["document"]] = stored["stop"]
        last = len(self.documents) - 1
        for batch in batches(self._batchable(done), lambda: self._scorer.chunk.size):
            for part in self._parts(batch, done):
                if part is not None:
                    self.parts.append(part)
                    if not (part["document"] == last and part["is_last"]):
                        yield PartDone(row=part)
                if time.monotonic() - self._reported > PROGRESS_SECONDS:
                    yield self._progress(batch.start)
        if self._log is not None:
            self._log.write()

    def _batchable(self, done: list[int]) -> list[int]:
        """Return the queries of each document that may be run with others, 0 for the rest."""
        loaded = self._scorer.loaded
        if self.spec.method == "recompute" or loaded.rotary is None:
            return [0] * len(done)
        lengths = [len(document.ids) for document in self.documents]
        return [0 if at else length - 1 for at, length in zip(done, lengths, strict=True)]

    def _parts(self, batch: range, done: list[int]) -> Iterator[Mapping[str, Any] | None]:
        documents = [(index, self.documents[index]) for index in batch]
        if len(batch) > 1:
            return self._scorer.parts_together(documents)
        return self._scorer.parts(*documents[0], done[batch.start])

    def columns(self) -> dict[str, Any]:
        """Return the quality columns of the row."""
        columns = quality_columns(self.spec, self.parts)
        lengths = [len(document.ids) for document in self.documents]
        return {**columns, "token_forwards": quality_forwards(self.spec, lengths)}

    def _take_over(self, assignment: Assignment) -> None:
        """Use stored parts, unless the losses of every single token are wanted."""
        if self._log is None:
            self.parts = contiguous(assignment.parts)
        self._tokens_done = sum(part["stop"] - part["start"] for part in self.parts)
        self._nll_done = sum(part["nll_sum"] for part in self.parts)

    def _heard(self, document: int, scored: Scored) -> None:
        self._tokens_done += len(scored.nll)
        self._nll_done += float(scored.nll.double().sum())
        if self._log is not None:
            self._log.add(document, scored)

    def _progress(self, index: int) -> Progress:
        self._reported = time.monotonic()
        return Progress(
            phase="quality",
            documents_done=index,
            documents_total=len(self.documents),
            tokens_done=self._tokens_done,
            tokens_total=sum(max(0, len(document.ids) - 1) for document in self.documents),
            perplexity=perplexity(self._nll_done, self._tokens_done),
        )


def contiguous(parts: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the stored parts that join without gap or overlap, per document from query 0 on.

    Two drivers may have stored parts of the same document with different boundaries.
    """
    chosen: list[Mapping[str, Any]] = []
    ends: dict[int, int] = {}
    for part in sorted(parts, key=lambda part: (part["document"], part["start"], -part["stop"])):
        if part["start"] == ends.get(part["document"], 0):
            ends[part["document"]] = part["stop"]
            chosen.append(part)
    return chosen
