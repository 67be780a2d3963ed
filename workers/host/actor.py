"""The Ray actor around one evaluator: it owns one GPU, or one CPU slot, for its whole life.

Why an actor and not tasks: a GPU task either starts a fresh process each time and loads the
model again, or its process is handed different GPUs over its life, which CUDA ignores after its
first use, and two evaluations share one GPU. Calls are plain: a generator that Ray retried after
a node died would be stitched from two attempts.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import ray

from workers.contract.events import Assignment
from workers.host.evaluator_host import Batch, EvaluatorHost


class EvaluatorActor:
    """What runs in the worker process; `EVALUATOR` is its Ray handle."""

    def __init__(self, path: str, options: Mapping[str, Any], log_folder: str | None) -> None:
        node_id = ray.get_runtime_context().get_node_id()
        self._host = EvaluatorHost(
            path, options, columns={"node_id": node_id}, log_folder=log_folder
        )

    def where(self) -> tuple[str, int]:
        """Return node id and process id; answered once the evaluator is ready."""
        return ray.get_runtime_context().get_node_id(), os.getpid()

    def work(
        self,
        assignments: Sequence[Assignment],
        max_seconds: float,
        paths: Sequence[str] = (),
        *packed: bytes,
    ) -> Batch:
        """See `EvaluatorHost.work`; `packed` holds what the driver ships for these paths."""
        self._host.shelf.put(dict(zip(paths, packed, strict=True)))
        return self._host.work(assignments, max_seconds)


# The driver owns the attempts: Ray must neither restart an evaluator nor repeat a call.
EVALUATOR = ray.remote(max_restarts=0, max_task_retries=0)(EvaluatorActor)
