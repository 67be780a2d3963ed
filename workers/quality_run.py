"""The quality pass of one evaluation: every document, parts from the store taken over."""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from workers.batching import batches
from workers.contract.events import Assignment, PartDone, Progress
from workers.contract.spec import EvalSpec
from workers.contract.statistics import perplexity
from workers.models.loading import LoadedModel
from workers.quality.nll import Scored
from workers.quality.results import quality_columns, token_forwards
from workers.quality.scoring import Chunk, Scorer
from workers.quality.token_log import TokenLog
from workers.texts.tokens import TokenisedDocument

PROGRESS_SECONDS = 0.5


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
        return {**columns, "token_forwards": token_forwards(self.spec, lengths)}

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
