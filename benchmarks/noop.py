"""An evaluator that computes nothing, or just waits: what remains is the orchestrator's cost."""

import time
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any
from uuid import uuid4

from workers.contract.events import Assignment, Event, Finished
from workers.contract.rows import spec_columns
from workers.contract.spec import EVAL_VERSION


class NoopEvaluator:
    """Has the interface of `workers.evaluator.Evaluator`; an evaluation takes `seconds`."""

    def __init__(
        self,
        *,
        device: str = "cpu",
        num_threads: int | None = None,
        store_tokens: str | None = None,
        seconds: float = 0.0,
        blocks: int = 0,
    ) -> None:
        self.loaded_model: str | None = None
        self._num_threads, self._seconds, self._blocks = num_threads, seconds, blocks

    def run(self, assignment: Assignment) -> Iterator[Event]:
        """Yield one `ok` row whose perplexity depends on the spec alone."""
        started = datetime.now(timezone.utc)
        if self._seconds:
            time.sleep(self._seconds)
        yield Finished(row=self._row(assignment) | {"started_at": started})

    def _row(self, assignment: Assignment) -> dict[str, Any]:
        blocks = range(self._blocks)
        return {
            **spec_columns(assignment.spec),
            "row_id": uuid4().hex,
            "attempt": assignment.attempt,
            "sweep": assignment.sweep,
            "source": "measured",
            "status": "ok",
            "eval_version": EVAL_VERSION,
            "perplexity": 1.0 + assignment.spec.seed,
            "nll_sum": 0.0,
            "n_tokens": 1,
            "block_size": 256,
            "block_document": [0] * self._blocks,
            "block_index": list(blocks),
            "block_tokens": [256] * self._blocks,
            "block_nll": [700.0 + block for block in blocks],
            "device_name": "none",
            "num_threads": self._num_threads,
            "torch_version": "none",
            "finished_at": datetime.now(timezone.utc),
            **assignment.provenance,
        }
