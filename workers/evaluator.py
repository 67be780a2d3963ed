"""One evaluation, from a spec to a row: a generator of progress, finished parts and one row.

An `Evaluator` keeps the last model and the last texts in memory, so a sweep over windows and
sinks loads them once. It needs torch, transformers, numpy and pyarrow only.
"""

from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any
from uuid import uuid4

import torch

from workers.attention.native import make_room
from workers.attention.visibility import visibility_of
from workers.contract.events import Assignment, Event, Finished, PartDone, Progress
from workers.contract.failures import failure_columns
from workers.contract.rows import complete, spec_columns
from workers.contract.spec import EVAL_VERSION, EvalSpec, normalise
from workers.device import device_columns, free_memory_bytes, software_columns
from workers.latency.measure import decode_latency
from workers.models.loading import LoadedModel, load, model_key
from workers.quality.chunks import Chunk, first_chunk
from workers.quality.results import setting_columns
from workers.quality.scoring import QualityRun
from workers.quality.selfcheck import self_check
from workers.texts.tokens import TokenisedDocument, tokenised_documents


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
                    ending = {"status": "ok", "finished_at": datetime.now(timezone.utc)}
                    yield Finished(row=complete({**row, **event, **ending}))
                else:
                    yield event
        except Exception as error:
            usable = not isinstance(error, torch.AcceleratorError | MemoryError)
            failed = complete({**row, **failure_columns(error)})
            yield Finished(row=failed, evaluator_usable=usable)
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
        chunk = Chunk(self._chunk_size(spec, loaded, documents, assignment.chunk_limit))
        if "quality" in spec.measure:
            run = QualityRun(loaded, spec, documents, chunk, self._store_tokens)
            yield from run.events(assignment)
            row |= run.columns()
        if "latency" in spec.measure:
            yield _phase("latency")
            longest = max(documents, key=lambda document: len(document.ids))
            row |= decode_latency(loaded, longest.ids, spec, chunk.size)
        yield {**row, "chunk_size": chunk.size}

    def _chunk_size(
        self,
        spec: EvalSpec,
        loaded: LoadedModel,
        documents: list[TokenisedDocument],
        limit: int | None,
    ) -> int:
        longest = max(len(document.ids) for document in documents)
        chosen = first_chunk(loaded, visibility_of(spec), longest, free_memory_bytes(self.device))
        return min(chosen, limit or chosen)

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


def _phase(name: str) -> Progress:
    return Progress(
        phase=name,
        documents_done=0,
        documents_total=0,
        tokens_done=0,
        tokens_total=0,
        perplexity=None,
    )
