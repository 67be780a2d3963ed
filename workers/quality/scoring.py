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
from workers.contract.cost import quality_forwards
from workers.contract.events import Evaluation, Progress, SpanDone, TokenLosses
from workers.contract.rows import SCHEMA_VERSION, Span
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
PROGRESS_SECONDS = 0.5


@dataclass
class Meter:
    """How far the pass has come."""

    tokens: int = 0
    nll: float = 0.0
    reported: float = field(default_factory=time.monotonic)

    def add(self, tokens: int, nll: float) -> None:
        """Count scored tokens and their losses (nats)."""
        self.tokens += tokens
        self.nll += nll

    def is_due(self) -> bool:
        """Tell, about twice a second, that it is time to report."""
        due = time.monotonic() - self.reported > PROGRESS_SECONDS
        if due:
            self.reported = time.monotonic()
        return due


class QualityPass:
    """The losses of all documents of one evaluation, spans from the store included."""

    def __init__(
        self,
        loaded: LoadedModel,
        spec: EvalSpec,
        documents: Sequence[TokenisedDocument],
        chunk: Chunk,
    ) -> None:
        self.loaded, self.spec, self.documents, self.chunk = loaded, spec, documents, chunk
        self._log = TokenLog() if spec.save_token_nll else None

    def run(self, stored: Sequence[Span]) -> Evaluation:
        """Score what the store does not hold; yield every span but the last; return the columns."""
        # The losses of every single token are wanted: then the stored sums are of no use.
        spans = contiguous(stored) if self._log is None else []
        meter = Meter()
        done = [0] * len(self.documents)
        for span in spans:
            done[span["document"]] = span["stop"]
            meter.add(span["stop"] - span["start"], span["nll_sum"])
        open_pieces: list[Scored] = []
        opened = time.monotonic()
        for index, piece in self._pieces(done):
            meter.add(len(piece.nll), float(piece.nll.double().sum()))
            if self._log is not None:
                self._log.add(index, piece)
            open_pieces.append(piece)
            ends = piece.start + len(piece.nll) == len(self.documents[index].ids) - 1
            if ends or self._is_long(time.monotonic() - opened):
                spans.append(self._span(index, open_pieces))
                open_pieces, opened = [], time.monotonic()
                if not (ends and index == len(self.documents) - 1):  # the row follows at once
                    yield SpanDone(row=spans[-1])
            if meter.is_due():
                yield self._progress(index, meter)
        if self._log is not None:
            yield TokenLosses(parquet=self._log.parquet())
        lengths = [len(document.ids) for document in self.documents]
        forwards = {"token_forwards": quality_forwards(self.spec, lengths)}
        return quality_columns(self.spec, spans) | forwards

    def _is_long(self, seconds: float) -> bool:
        return self.spec.method == "recompute" and seconds > SPAN_SECONDS

    def _pieces(self, done: Sequence[int]) -> Iterator[tuple[int, Scored]]:
        """Yield (document, scored chunk) of everything from `done` on, in order."""
        for batch in batches(self._batchable(done), lambda: self.chunk.size):
            together = self._together(batch) if len(batch) > 1 else None
            if together is not None:
                yield from zip(batch, together, strict=True)
                continue
            for index in batch:
                for piece in self._alone(self.documents[index].ids, done[index]):
                    yield index, piece

    def _batchable(self, done: Sequence[int]) -> list[int]:
        """Return the queries of each document that may be run with others, 0 for the rest."""
        if self.spec.method == "recompute" or self.loaded.rotary is None:
            return [0] * len(done)
        lengths = [len(document.ids) for document in self.documents]
        return [0 if at else length - 1 for at, length in zip(done, lengths, strict=True)]

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

    def _alone(self, ids: Tensor, done: int) -> Iterator[Scored]:
        """Yield scored chunks from query `done` on; out of memory halves the chunk and goes on."""
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

    def _span(self, index: int, pieces: Sequence[Scored]) -> Span:
        """Add up consecutive chunks of one document."""
        document = self.documents[index]
        nll = np.concatenate([piece.nll.numpy() for piece in pieces]).astype(np.float64)
        start = pieces[0].start
        stop = start + len(nll)
        after = nll[max(0, first_evicting_query(self.spec) - start) :]
        blocks = block_sums(start, nll)
        return Span(
            row_id=uuid4().hex,
            run_id=self.spec.run_id,
            schema_version=SCHEMA_VERSION,
            document=index,
            start=start,
            stop=stop,
            is_last=stop == len(document.ids) - 1,
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
            tokens_total=sum(max(0, len(document.ids) - 1) for document in self.documents),
            perplexity=perplexity(meter.nll, meter.tokens),
        )


def first_evicting_query(spec: EvalSpec) -> int:
    """Return B + 1, the first query that misses a token (a bound beyond any text for dense)."""
    return 2**62 if spec.budget is None else spec.budget + 1


def contiguous(spans: Iterable[Span]) -> list[Span]:
    """Return the stored spans that join without gap or overlap, per document from query 0 on.

    Two drivers may have stored spans of the same document with different boundaries.
    """
    chosen: list[Span] = []
    ends: dict[int, int] = {}
    for span in sorted(spans, key=lambda span: (span["document"], span["start"], -span["stop"])):
        if span["start"] == ends.get(span["document"], 0):
            ends[span["document"]] = span["stop"]
            chosen.append(span)
    return chosen
