"""An evaluator that computes nothing, or just waits: what remains is the orchestrator's cost."""

import time
from typing import Any

from workers.contract.events import Assignment, Evaluation


class NoopEvaluator:
    """Has the interface of `workers.evaluator.Evaluator`; an evaluation takes `seconds`."""

    def __init__(
        self,
        *,
        device: str = "cpu",
        num_threads: int | None = None,
        seconds: float = 0.0,
        blocks: int = 0,
    ) -> None:
        self.loaded_model: str | None = None
        self._num_threads, self._seconds, self._blocks = num_threads, seconds, blocks

    def columns(self) -> dict[str, Any]:
        """Return a device that is none."""
        return {"device_name": "none", "num_threads": self._num_threads, "torch_version": "none"}

    def run(self, assignment: Assignment) -> Evaluation:
        """Return a perplexity that depends on the spec alone."""
        if self._seconds:
            time.sleep(self._seconds)
        yield from ()
        blocks = range(self._blocks)
        return {
            "perplexity": 1.0 + assignment.spec.seed,
            "nll_sum": 0.0,
            "n_tokens": 1,
            "block_size": 256,
            "block_document": [0] * self._blocks,
            "block_index": list(blocks),
            "block_tokens": [256] * self._blocks,
            "block_nll": [700.0 + block for block in blocks],
        }
