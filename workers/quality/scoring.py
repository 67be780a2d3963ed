"""From documents to finished spans: the additive results of an evaluation, as they come.

One stream runs through the pass: chunks of losses come in, whatever they were computed by; spans
go out. A span is a document, or for `recompute` about 30 s of work in one. Spans found in the
store are not computed again.
"""

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

import numpy as np
import torch
from torch import Tensor

from workers.attention.visibility import visibility_of
from workers.contract.cost import Queries, next_query, quality_forwards, scored_queries
from workers.contract.errors import CorpusError
from workers.contract.events import Evaluation, Progress, SpanDone, TokenLosses
from workers.contract.rows import SCHEMA_VERSION, Span
from workers.contract.spec import EvalSpec
from workers.contract.statistics import BASE_BLOCK, block_sums, perplexity
from workers.models.loading import LoadedModel
from workers.quality.chunks import Chunk, batches
from workers.quality.nll import Scored, recompute_nll, stream_nll, stream_nll_together
from workers.quality.results import quality_columns
from workers.quality.token_log import TokenLog
from workers.texts.tokens import TokenisedDocument

SPAN_SECONDS = 30.0
"""Work of `recompute` after which a span is handed over."""
PROGRESS_SECONDS = 0.5
"""Between two reports of where the pass stands."""


@dataclass
class Meter:
    """How far the pass has come, reported every so many seconds."""

    interval: float = PROGRESS_SECONDS
    tokens: int = 0
    nll: float = 0.0
    reported: float = field(default_factory=time.monotonic)

    def add(self, tokens: int, nll: float) -> None:
        """Count scored tokens and their losses (nats)."""
        self.tokens += tokens
        self.nll += nll

    def is_due(self) -> bool:
        """Tell that it is time to report."""
        due = time.monotonic() - self.reported > self.interval
        if due:
            self.reported = time.monotonic()
        return due


class QualityPass:
    """The losses of all documents of one evaluation, spans from the store included.

    span_seconds, progress_seconds: see `SPAN_SECONDS` and `PROGRESS_SECONDS`.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        spec: EvalSpec,
        documents: Sequence[TokenisedDocument],
        chunk: Chunk,
        *,
        span_seconds: float = SPAN_SECONDS,
        progress_seconds: float = PROGRESS_SECONDS,
    ) -> None:
        self.loaded, self.spec, self.documents, self.chunk = loaded, spec, documents, chunk
        self._span_seconds, self._progress_seconds = span_seconds, progress_seconds
        self._log = TokenLog() if spec.save_token_nll else None
        self._lengths = [len(document.ids) for document in documents]
        self._queries = scored_queries(spec, self._lengths)
        if not any(self._queries):
            raise CorpusError(
                f"{spec.dataset}: no document has a whole block of {BASE_BLOCK} scored tokens, so "
                "recompute_blocks has nothing to choose from; leave it out for so short a text"
            )

    def run(self, stored: Sequence[Span]) -> Evaluation:
        """Score what the store does not hold; yield every span but the last; return the columns."""
        # The losses of every single token are wanted: then the stored sums are of no use.
        spans = contiguous(stored, self._queries) if self._log is None else []
        meter = Meter(self._progress_seconds)
        done = [0] * len(self.documents)
        for span in spans:
            done[span["document"]] = span["stop"]
            meter.add(sum(span["block_tokens"]), span["nll_sum"])
        last = max(index for index, queries in enumerate(self._queries) if queries)
        yield self._progress(0, meter)
        open_pieces: list[Scored] = []
        opened = time.monotonic()
        for index, piece in self._pieces(done):
            meter.add(len(piece.nll), float(piece.nll.double().sum()))
            if self._log is not None:
                self._log.add(index, piece)
            open_pieces.append(piece)
            ends = piece.stop == self._queries[index][-1].stop
            is_long = time.monotonic() - opened > self._span_seconds
            if ends or (self.spec.method == "recompute" and is_long):
                spans.append(self._span(index, open_pieces))
                open_pieces, opened = [], time.monotonic()
                if not (ends and index == last):  # the row follows at once
                    yield SpanDone(row=spans[-1])
            if meter.is_due():
                yield self._progress(index, meter)
        if self._log is not None:
            yield TokenLosses(parquet=self._log.parquet())
        forwards = {"token_forwards": quality_forwards(self.spec, self._lengths)}
        return quality_columns(self.spec, spans, self._lengths) | forwards

    def _pieces(self, done: Sequence[int]) -> Iterator[tuple[int, Scored]]:
        """Yield (document, scored chunk) of everything from `done` on, in order."""
        alone = self.spec.method == "recompute" or self.loaded.rotary is None
        # 0 for a document that is not to be run with others.
        n_queries = [
            0 if alone or at else length - 1 for at, length in zip(done, self._lengths, strict=True)
        ]
        for batch in batches(n_queries, lambda: self.chunk.size):
            together = self._together(batch) if len(batch) > 1 else None
            if together is not None:
                yield from zip(batch, together, strict=True)
                continue
            for index in batch:
                for run in self._queries[index]:
                    todo = range(max(run.start, done[index]), run.stop)
                    for piece in self._alone(self.documents[index].ids, todo):
                        yield index, piece

    def _together(self, batch: range) -> Sequence[Scored] | None:
        """Score several short documents in one pass; None if the memory does not allow it."""
        rotary, device = self.loaded.rotary, self.loaded.device
        assert rotary is not None, "only such families are batched"
        ids = [self.documents[index].ids.to(device) for index in batch]
        try:
            return stream_nll_together(self.loaded.model, rotary, ids, visibility_of(self.spec))
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            self.chunk.halve()
            return None

    def _alone(self, ids: Tensor, queries: range) -> Iterator[Scored]:
        """Yield the scored chunks of these queries; out of memory halves the chunk and goes on."""
        done = queries.start
        while done < queries.stop:
            try:
                for piece in self._attempt(ids, range(done, queries.stop)):
                    new = piece.nll[max(0, done - piece.start) :]
                    if len(new):  # a stream starts again from its beginning
                        done = piece.stop
                        yield Scored(done - len(new), new)
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
                self.chunk.halve()

    def _attempt(self, ids: Tensor, queries: range) -> Iterator[Scored]:
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
            span=queries,
        )

    def _span(self, index: int, pieces: Sequence[Scored]) -> Span:
        """Add up chunks of one document, in its order; between them nothing is scored."""
        document = self.documents[index]
        nll = np.concatenate([piece.nll.numpy() for piece in pieces]).astype(np.float64)
        queries = np.concatenate([np.arange(piece.start, piece.stop) for piece in pieces])
        after = nll[queries >= first_evicting_query(self.spec)]
        stop = pieces[-1].stop
        blocks = block_sums(queries, nll)
        return Span(
            row_id=uuid4().hex,
            run_id=self.spec.run_id,
            schema_version=SCHEMA_VERSION,
            document=index,
            start=pieces[0].start,
            stop=stop,
            is_last=stop == self._queries[index][-1].stop,
            document_tokens=len(document.ids),
            document_bytes=document.n_bytes,
            nll_sum=math.fsum(nll),
            after_eviction_nll=math.fsum(after),
            after_eviction_tokens=len(after),
            block_index=blocks["block_index"],
            block_tokens=blocks["block_tokens"],
            block_nll=blocks["block_nll"],
        )

    def _progress(self, index: int, meter: Meter) -> Progress:
        return Progress(
            phase="quality",
            documents_done=index,
            documents_total=len(self.documents),
            tokens_done=meter.tokens,
            tokens_total=sum(len(run) for runs in self._queries for run in runs),
            perplexity=perplexity(meter.nll, meter.tokens),
        )


def first_evicting_query(spec: EvalSpec) -> int:
    """Return B + 1, the first query that misses a token (a bound beyond any text for dense)."""
    return 2**62 if spec.budget is None else spec.budget + 1


def contiguous(spans: Iterable[Span], queries: Sequence[Queries]) -> list[Span]:
    """Return the stored spans that join without gap or overlap, per document from its start on.

    `queries`: what is scored of each document; what lies between is no gap. Two drivers may have
    stored spans of the same document with different boundaries.
    """
    chosen: list[Span] = []
    ends: dict[int, int] = {}
    for span in sorted(spans, key=lambda span: (span["document"], span["start"], -span["stop"])):
        wanted = queries[span["document"]]
        if span["start"] == next_query(wanted, ends.get(span["document"], 0)):
            ends[span["document"]] = span["stop"]
            chosen.append(span)
    return chosen
