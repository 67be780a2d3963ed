"""One evaluation, from a spec to a row: a generator of progress, finished parts and one row.

An `Evaluator` keeps the last model and the last texts in memory, so a sweep over windows and
sinks loads them once. It needs torch, transformers, numpy and pyarrow only.
"""

import time
import traceback
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import Any
from uuid import uuid4

import torch

from workers.decode import decode_latency
from workers.errors import NumericalError
from workers.events import Assignment, Event, Finished, PartDone, Progress
from workers.loading import LoadedModel, load, model_key
from workers.native import make_room
from workers.provenance import device_columns, software_columns
from workers.quality import CHUNK, Scored
from workers.record import complete, spec_columns
from workers.results import quality_columns, setting_columns, token_forwards
from workers.scoring import Chunk, Scorer
from workers.selfcheck import self_check
from workers.spec import EVAL_VERSION, EvalSpec, normalise
from workers.statistics import perplexity
from workers.tokenlog import TokenLog
from workers.tokens import TokenisedDocument, tokenised_documents

PROGRESS_SECONDS = 0.5


class Evaluator:
    """Runs evaluations one after another on one device.

    device: `cpu`, `cuda`, `cuda:1` … or `auto` (the first GPU if there is one).
    num_threads: threads of a CPU evaluation; None leaves torch's default.
    store_tokens: URI of the store that receives per-token losses when a spec asks for them.
    """

    def __init__(
        self,
        *,
        device: str = "auto",
        num_threads: int | None = None,
        store_tokens: str | None = None,
    ) -> None:
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if num_threads is not None:
            torch.set_num_threads(num_threads)
        self.device = torch.device(device)
        self.sequence = 0
        """Evaluations run before the current one."""
        self._store_tokens = store_tokens
        self._loaded: LoadedModel | None = None
        self._documents: tuple[tuple[Any, ...], list[TokenisedDocument]] | None = None
        self._parity: dict[str, float | None] = {}

    @property
    def loaded_model(self) -> str | None:
        """The key (`loading.model_key`) of the model in memory."""
        return self._loaded.key if self._loaded else None

    def run(self, assignment: Assignment) -> Iterator[Event]:
        """Yield progress and parts, then exactly one `Finished`; an error is a failed row."""
        row = self._identity(assignment)
        try:
            for event in self._evaluate(assignment):
                if isinstance(event, dict):
                    yield Finished(row=complete({**row, **event, **_ending("ok")}))
                else:
                    yield event
        except Exception as error:
            failure = {**_ending("failed"), **error_columns(error)}
            usable = not isinstance(error, torch.AcceleratorError | MemoryError)
            yield Finished(row=complete({**row, **failure}), evaluator_usable=usable)
        finally:
            self.sequence += 1

    def _evaluate(self, assignment: Assignment) -> Iterator[Progress | PartDone | dict[str, Any]]:
        spec = normalise(assignment.spec)
        yield _phase("load")
        loaded = self._model(spec)
        documents = self._texts(spec, loaded)
        make_room(loaded.model, max(len(document.ids) for document in documents))
        yield _phase("self-check")
        row: dict[str, Any] = {
            "parity_max_abs_diff": self._checked(loaded, spec),
            **setting_columns(spec, loaded, documents),
        }
        chunk = Chunk(min(CHUNK, assignment.chunk_limit or CHUNK))
        if "quality" in spec.measure:
            run = QualityRun(loaded, spec, documents, chunk, self._store_tokens)
            yield from run.events(assignment)
            row |= run.columns()
        if "latency" in spec.measure:
            yield _phase("latency")
            longest = max(documents, key=lambda document: len(document.ids))
            row |= decode_latency(loaded, longest.ids, spec, chunk.size)
        yield {**row, "chunk_size": chunk.size}

    def _identity(self, assignment: Assignment) -> dict[str, Any]:
        return {
            "row_id": uuid4().hex,
            "attempt": assignment.attempt,
            "sweep": assignment.sweep,
            "source": "measured",
            "eval_version": EVAL_VERSION,
            "worker_sequence": self.sequence,
            "started_at": datetime.now(timezone.utc),
            **spec_columns(assignment.spec),
            **device_columns(self.device),
            **software_columns(),
            **assignment.provenance,
        }

    def _model(self, spec: EvalSpec) -> LoadedModel:
        if self._loaded is None or self._loaded.key != model_key(spec):
            self._loaded = self._documents = None  # free the old one first
            self._loaded = load(spec, self.device)
        return self._loaded

    def _texts(self, spec: EvalSpec, loaded: LoadedModel) -> list[TokenisedDocument]:
        fields = (spec.dataset, spec.dataset_revision, spec.split, spec.seed)
        key = (loaded.key, *fields, spec.max_documents, spec.max_tokens)
        if self._documents is None or self._documents[0] != key:
            self._documents = (key, tokenised_documents(spec, loaded))
        return self._documents[1]

    def _checked(self, loaded: LoadedModel, spec: EvalSpec) -> float | None:
        if loaded.key not in self._parity:
            self._parity[loaded.key] = self_check(loaded, spec)
        return self._parity[loaded.key]


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
        last = len(self.documents) - 1
        for index, document in enumerate(self.documents):
            done = max((p["stop"] for p in self.parts if p["document"] == index), default=0)
            for part in self._scorer.parts(index, document, done):
                self.parts.append(part)
                if not (index == last and part["is_last"]):
                    yield PartDone(row=part)
                if time.monotonic() - self._reported > PROGRESS_SECONDS:
                    yield self._progress(index)
        if self._log is not None:
            self._log.write()

    def columns(self) -> dict[str, Any]:
        """Return the quality columns of the row."""
        columns = quality_columns(self.spec, self.parts)
        if columns["nll_sum"] != columns["nll_sum"]:
            raise NumericalError("the sum of the losses is NaN")
        lengths = [len(document.ids) for document in self.documents]
        return {**columns, "token_forwards": token_forwards(self.spec, lengths)}

    def _take_over(self, assignment: Assignment) -> None:
        """Use stored parts, unless the losses of every single token are wanted."""
        if self._log is None:
            self.parts = contiguous(assignment.parts)
        self._tokens_done = sum(part["stop"] - part["start"] for part in self.parts)
        self._nll_done = sum(part["nll_sum"] for part in self.parts)

    def _heard(self, scored: Scored) -> None:
        self._tokens_done += len(scored.nll)
        self._nll_done += float(scored.nll.double().sum())
        if self._log is not None:
            self._log.add(scored)

    def _progress(self, index: int) -> Progress:
        self._reported = time.monotonic()
        return Progress(
            phase="quality",
            documents_done=index + 1,
            documents_total=len(self.documents),
            tokens_done=self._tokens_done,
            tokens_total=sum(max(0, len(document.ids) - 1) for document in self.documents),
            perplexity=perplexity(self._nll_done, self._tokens_done),
        )


def contiguous(parts: Any) -> list[Mapping[str, Any]]:
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


def error_columns(error: BaseException) -> dict[str, str]:
    """Return the error columns of a failed row."""
    return {
        "error_type": type(error).__name__,
        "error_message": str(error),
        "traceback": "".join(traceback.format_exception(error)),
    }


def _ending(status: str) -> dict[str, Any]:
    return {"status": status, "finished_at": datetime.now(timezone.utc)}


def _phase(name: str) -> Progress:
    return Progress(
        phase=name,
        documents_done=0,
        documents_total=0,
        tokens_done=0,
        tokens_total=0,
        perplexity=None,
    )
