"""The Ray actor around one evaluator: it owns one GPU, or one CPU slot, for its whole life.

Why an actor and not tasks: a GPU task either starts a fresh process each time and loads the
model again, or its process is handed different GPUs over its life, which CUDA ignores after its
first use, and two evaluations share one GPU. Calls are plain: a generator that Ray retried after
a node died would be stitched from two attempts.
"""

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray

from workers.contract.errors import DeviceUnusableError
from workers.contract.events import Assignment
from workers.contract.installation import Installation, installation
from workers.host.evaluator_host import Batch, EvaluatorHost


@dataclass(frozen=True)
class Hello:
    """What an evaluator says of itself once it is there."""

    node_id: str
    hostname: str
    process_id: int
    other_code: str | None = None
    """How its code differs from the driver's: it has not even been built."""
    no_device: str | None = None
    """Why it cannot use the GPU that it was given."""


class EvaluatorActor:
    """What runs in the worker process; `EVALUATOR` is its Ray handle."""

    def __init__(
        self,
        path: str,
        options: Mapping[str, Any],
        log_folder: str | None,
        driver: Installation,
        gpus: int,
    ) -> None:
        """Build the evaluator, unless it would not be the one that the driver means."""
        node_id = ray.get_runtime_context().get_node_id()
        self._host: EvaluatorHost | None = None
        other_code, no_device = driver.difference(installation()), None
        if other_code is None:
            columns = {"node_id": node_id, "gpus_requested": gpus}
            try:
                self._host = EvaluatorHost(path, options, columns=columns, log_folder=log_folder)
            except DeviceUnusableError as error:
                no_device = str(error)
        self._hello = Hello(node_id, socket.gethostname(), os.getpid(), other_code, no_device)

    def hello(self) -> Hello:
        """Introduce it; answered once the evaluator is ready, or will never be."""
        return self._hello

    def work(
        self,
        assignments: Sequence[Assignment],
        max_seconds: float,
        paths: Sequence[str] = (),
        *packed: bytes,
    ) -> Batch:
        """See `EvaluatorHost.work`; `packed` holds what the driver ships for these paths."""
        if self._host is None:
            raise RuntimeError("this evaluator has refused to work")
        self._host.shelf.put(dict(zip(paths, packed, strict=True)))
        return self._host.work(assignments, max_seconds)


# The driver owns the attempts: Ray must neither restart an evaluator nor repeat a call.
EVALUATOR = ray.remote(max_restarts=0, max_task_retries=0)(EvaluatorActor)
