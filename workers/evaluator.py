"""One evaluation: a spec in, the columns of its row out, progress and finished spans on the way.

An `Evaluator` keeps the last model and the last texts in memory, so a sweep over windows and
sinks loads them once. It needs torch, transformers, numpy and pyarrow only.
"""

from typing import Any

import torch

from workers.attention.native import make_room
from workers.attention.visibility import visibility_of
from workers.contract.errors import (
    DeviceUnusableError,
    ModelRefusedError,
    NumericalError,
    SinkSweepError,
    UnsupportedModelError,
)
from workers.contract.events import Assignment, Evaluation, Progress
from workers.contract.spec import TEXT_FIELDS, EvalSpec, loading_key
from workers.device import device_columns, free_memory_bytes, software_columns, why_no_gpu
from workers.latency.measure import decode_latency
from workers.models.loading import LoadedModel, load_model
from workers.models.sinks import attention_columns
from workers.quality.chunks import Chunk, first_chunk
from workers.quality.results import setting_columns
from workers.quality.scoring import PROGRESS_SECONDS, SPAN_SECONDS, QualityPass
from workers.quality.selfcheck import self_check
from workers.texts.tokens import TokenisedDocument, tokenised_documents


class Evaluator:
    """Runs evaluations one after another on one device.

    device: `cpu`, `cuda`, `cuda:1` … or `auto` (the first GPU if there is one).
    num_threads: threads of a CPU evaluation; None leaves torch's default.
    span_seconds, progress_seconds: how often a quality pass hands over what it has, and reports.
    """

    def __init__(
        self,
        *,
        device: str = "auto",
        num_threads: int | None = None,
        span_seconds: float = SPAN_SECONDS,
        progress_seconds: float = PROGRESS_SECONDS,
    ) -> None:
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        elif device.startswith("cuda") and (reason := why_no_gpu()):
            raise DeviceUnusableError(reason)
        if num_threads is not None:
            torch.set_num_threads(num_threads)
        self.device = torch.device(device)
        self._intervals = {"span_seconds": span_seconds, "progress_seconds": progress_seconds}
        self._loaded: LoadedModel | None = None
        self._documents: tuple[tuple[Any, ...], list[TokenisedDocument]] | None = None
        self._parity: dict[str, float | None] = {}
        self._refused: dict[str, SinkSweepError] = {}

    @property
    def loaded_model(self) -> str | None:
        """The key (`spec.loading_key`) of the model in memory."""
        return self._loaded.key if self._loaded else None

    def columns(self) -> dict[str, Any]:
        """Return where this evaluator runs, as columns of every row of it."""
        return {**device_columns(self.device), **software_columns()}

    def run(self, assignment: Assignment) -> Evaluation:
        """Yield progress and spans, return the result columns; raises what goes wrong."""
        spec = assignment.spec
        yield _phase("load")
        loaded = self._model(spec)
        documents = self._texts(spec, loaded)
        longest = max(documents, key=lambda document: len(document.ids))
        make_room(loaded.model, len(longest.ids))
        yield _phase("self-check")
        if loaded.key not in self._parity:
            self._parity[loaded.key] = self_check(loaded, spec)
        row: dict[str, Any] = {
            "parity_max_abs_diff": self._parity[loaded.key],
            **setting_columns(spec, loaded, documents),
        }
        free = free_memory_bytes(self.device)
        first = first_chunk(loaded, visibility_of(spec), len(longest.ids), free)
        chunk = Chunk(min(first, assignment.chunk_limit or first))
        if "quality" in spec.measure:
            scoring = QualityPass(loaded, spec, documents, chunk, **self._intervals)
            row |= yield from scoring.run(assignment.spans)
        if "attention" in spec.measure:
            yield _phase("attention")
            row |= attention_columns(loaded, [document.ids for document in documents])
        if "latency" in spec.measure:
            row |= yield from decode_latency(loaded, longest.ids, spec, chunk.size)
        return {**row, "chunk_size": chunk.size}

    def _model(self, spec: EvalSpec) -> LoadedModel:
        """Return the model; what reading again cannot help is refused without reading again."""
        key = loading_key(spec)
        if self._loaded is None or self._loaded.key != key:
            self._loaded = self._documents = None  # free the old one first
            if key in self._refused:
                raise self._refused[key].with_traceback(None)
            try:
                self._loaded = load_model(spec, self.device)
            except (ModelRefusedError, UnsupportedModelError, NumericalError) as error:
                self._refused[key] = error
                raise
        return self._loaded

    def _texts(self, spec: EvalSpec, loaded: LoadedModel) -> list[TokenisedDocument]:
        fields = (spec.dataset, spec.dataset_revision, spec.split, spec.seed)
        how = [getattr(spec, name) for name in TEXT_FIELDS]
        key = (loaded.key, *fields, *how, spec.max_documents, spec.max_tokens)
        if self._documents is None or self._documents[0] != key:
            self._documents = (key, tokenised_documents(spec, loaded))
        return self._documents[1]


def _phase(name: str) -> Progress:
    return Progress(
        phase=name,
        documents_done=0,
        documents_total=0,
        tokens_done=0,
        tokens_total=0,
        perplexity=None,
    )
