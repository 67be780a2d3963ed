"""Run evaluations on a Ray cluster, on actors that each own a GPU or a CPU slot.

Every call to an actor lasts about a second and returns a batch of events, so that progress and
finished parts flow, a stop is clean between calls, and nothing relies on Ray's generators.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import ray
import ray.exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.cluster.connection import Cluster
from orchestrator.cluster.metrics import Metrics
from orchestrator.cluster.placement import Request, describe_room, requests
from orchestrator.errors import ClusterError, ResourcesError
from orchestrator.executors.base import Happened, Lost, Returned, Slot, Update
from orchestrator.executors.evaluator_slot import (
    EvaluatorSlot,
    PackedFiles,
    latest_log,
    missing_requests,
    one_line,
)
from orchestrator.sweep import Resources
from workers.contract import failures
from workers.contract.events import Assignment, Finished
from workers.contract.failures import Failure
from workers.contract.spec import loading_key
from workers.host.actor import EVALUATOR
from workers.host.evaluator_host import DEFAULT_EVALUATOR, Batch
from workers.host.output_capture import FALLBACK as LOCAL_LOGS

CALL_SECONDS = 1.0
"""How long a call to an evaluator lasts; how often a long evaluation reports."""
IDLE_SECONDS = 60.0
"""An evaluator without work is released after this time."""
SURVEY_SECONDS = 2.0
"""How often the cluster is asked for its nodes."""
ROOMLESS_SECONDS = 600.0
"""How long a cluster may be without any node for the evaluations before the sweep gives up."""
STARTS_AT_ONCE = 64
FAILED_STARTS = 3
"""Evaluators in a row that do not start, after which the sweep gives up."""


class RayExecutor:
    """Evaluators on a cluster."""

    def __init__(
        self,
        cluster: Cluster,
        resources: Resources,
        *,
        evaluator: str = DEFAULT_EVALUATOR,
        options: Mapping[str, Any] | None = None,
        log_folder: str | None = None,
        timed: bool = False,
    ) -> None:
        """Survey the cluster. Raises `ResourcesError` if no evaluation could ever run on it.

        evaluator, options: import path of the evaluator and what it is built with (`device`,
        …); `num_threads` follows from the slot. log_folder: `Store.log_folder`.
        timed: see `placement.requests`.
        """
        self._cluster, self._resources = cluster, resources
        self._path, self._options = evaluator, dict(options or {})
        self._log_folder = log_folder or str(LOCAL_LOGS)
        self._evaluators: dict[str, EvaluatorSlot] = {}
        self._files = PackedFiles(ray.put)
        self._timed = timed
        self._room = self._requests()
        alone = timed or resources.cpus is None
        self.notes: Sequence[str] = (describe_room(self._room[0], len(self._room), alone=alone),)
        self._surveyed_at = self._had_room_at = time.monotonic()
        self._metrics = Metrics()
        self._updates: list[Update] = []
        """What is to be told at the next `wait`."""
        self._fatal: ClusterError | None = None
        """Ends the sweep as soon as everything else has been told."""
        self._wanted = 0
        self._started = 0
        self._failed_starts = 0
        self._cancelled = False

    def scale(self, wanted: int) -> None:
        """Have as many evaluators as there is work and room for; release idle ones."""
        now = time.monotonic()
        if now - self._surveyed_at > SURVEY_SECONDS:
            self._surveyed_at = now
            self._room = self._survey()
            self._report()
        self._wanted = wanted
        self._release(wanted, now)
        if not self._cancelled:
            self._start(wanted)

    def free(self) -> Sequence[Slot]:
        """Return the evaluators that are ready and have no work."""
        if self._cancelled:
            return ()
        return [
            Slot(item.id, item.model, item.capacity())
            for item in self._evaluators.values()
            if item.call is None
        ]

    def submit(self, slot: str, assignments: Sequence[Assignment]) -> None:
        """Hand over evaluations of one model."""
        item = self._evaluators[slot]
        item.run_ids = {assignment.spec.run_id: None for assignment in assignments}
        item.model = loading_key(assignments[0].spec)
        item.submitted_at = time.monotonic()
        shipments = {} if self._cluster.is_local else self._files.for_slot(item, assignments)
        item.call = item.handle.work.remote(
            list(assignments), CALL_SECONDS, list(shipments), *shipments.values()
        )

    def wait(self, timeout: float) -> Sequence[Update]:
        """Return what the evaluators told, after at most `timeout` seconds."""
        calls = {item.call: item for item in self._evaluators.values() if item.call is not None}
        patience = 0.0 if self._updates else timeout
        if calls:
            ready, _ = ray.wait(list(calls), timeout=max(0.001, patience))
            if ready:
                ready, _ = ray.wait(list(calls), num_returns=len(calls), timeout=0)
            for call in ready:
                self._collect(calls[call])
        else:
            time.sleep(patience)
        if self._fatal is not None and not self._updates:
            raise self._fatal
        updates, self._updates = self._updates, []
        return updates

    def cancel(self) -> None:
        """Make no further calls; those in flight return within about a second."""
        self._cancelled = True

    def busy(self) -> int:
        """Return how many evaluators have work."""
        return sum(1 for item in self._evaluators.values() if item.run_ids)

    def process_ids(self) -> list[int]:
        """Return the processes of the evaluators that are ready, each on its own node."""
        return [item.process_id for item in self._evaluators.values() if item.process_id]

    def close(self) -> None:
        """Kill the evaluators."""
        self._cancelled = True
        for item in list(self._evaluators.values()):
            self._let_go(item)
        self._wanted = 0
        self._report()

    def _report(self) -> None:
        """Tell Ray's metrics what the evaluators do."""
        starting = sum(1 for item in self._evaluators.values() if item.node_id is None)
        busy = self.busy()
        idle = len(self._evaluators) - busy - starting
        self._metrics.report(busy=busy, idle=idle, starting=starting, wanted=self._wanted)

    def _requests(self) -> list[Request]:
        alive, possible = self._cluster.nodes(), self._cluster.node_types()
        return requests(self._resources, alive, possible, timed=self._timed)

    def _survey(self) -> list[Request]:
        """Return the room that the cluster has now; for a while, what it had before."""
        try:
            room = self._requests()
        except ResourcesError as error:
            if time.monotonic() - self._had_room_at > ROOMLESS_SECONDS:
                raise ClusterError(f"the cluster has lost its nodes: {error}") from error
            return self._room
        self._had_room_at = time.monotonic()
        return room

    def _start(self, wanted: int) -> None:
        starting = sum(1 for item in self._evaluators.values() if item.node_id is None)
        count = min(wanted, len(self._room)) - len(self._evaluators)
        count = min(count, STARTS_AT_ONCE - starting)
        if count <= 0:
            return
        missing = missing_requests(self._room, [item.request for item in self._evaluators.values()])
        for request in missing[:count]:
            self._started += 1
            item = EvaluatorSlot(f"evaluator-{self._started}", self._actor(request), request)
            item.call = item.handle.where.remote()
            self._evaluators[item.id] = item

    def _actor(self, request: Request) -> Any:
        strategy: Any = "DEFAULT"
        if request.node_id is not None:
            strategy = NodeAffinitySchedulingStrategy(request.node_id, soft=False)
        options = {
            "num_cpus": request.cpus,
            "num_gpus": request.gpus,
            "accelerator_type": request.accelerator,
            "scheduling_strategy": strategy,
        }
        chosen = {"num_threads": request.num_threads, **self._options}
        return EVALUATOR.options(**options).remote(self._path, chosen, self._log_folder)

    def _release(self, wanted: int, now: float) -> None:
        """Let go of evaluators that have been idle, and of unborn ones that nobody needs."""
        surplus = len(self._evaluators) - wanted
        for item in list(self._evaluators.values()):
            idle = item.call is None and now - item.idle_since > IDLE_SECONDS
            unborn = item.node_id is None and surplus > 0
            if idle or unborn:
                surplus -= 1
                self._let_go(item)

    def _let_go(self, item: EvaluatorSlot) -> None:
        """End an evaluator, the one way there is; give back what it still holds."""
        del self._evaluators[item.id]
        ray.kill(item.handle, no_restart=True)
        self._give_back(item, item.run_ids)

    def _give_back(self, item: EvaluatorSlot, run_ids: Iterable[str]) -> None:
        if returned := tuple(run_ids):
            self._updates.append(Returned(returned))
        for run_id in returned:
            del item.run_ids[run_id]

    def _collect(self, item: EvaluatorSlot) -> None:
        """Take the result of a call that has returned, and make the next one."""
        call, item.call = item.call, None
        try:
            result = ray.get(call)
        except ray.exceptions.RayError as error:
            self._died(item, error)
            return
        item.idle_since = time.monotonic()
        if isinstance(result, Batch):
            self._reported(item, result)
        else:
            item.node_id, item.process_id = result
            self._failed_starts = 0

    def _reported(self, item: EvaluatorSlot, batch: Batch) -> None:
        self._updates += [Happened(run_id, event) for run_id, event in batch.events]
        finished = [
            (run_id, event) for run_id, event in batch.events if isinstance(event, Finished)
        ]
        for run_id, event in finished:
            item.run_ids.pop(run_id, None)
            self._metrics.ended(event.row)
        if finished:
            item.seconds_each = (time.monotonic() - item.submitted_at) / len(finished)
        self._give_back(item, [run_id for run_id in item.run_ids if run_id != batch.under_way])
        if not all(event.evaluator_usable for _, event in finished):
            self._let_go(item)
        elif self._cancelled:
            self._give_back(item, list(item.run_ids))
        elif item.run_ids:
            item.call = item.handle.work.remote([], CALL_SECONDS)

    def _died(self, item: EvaluatorSlot, error: ray.exceptions.RayError) -> None:
        held = tuple(item.run_ids)
        item.run_ids = {}
        self._let_go(item)
        kind = self._kind_of_loss(item, error)
        message = one_line(error)
        if item.node_id is None and kind != failures.NODE_LOST:
            self._failed_starts += 1
            if self._failed_starts >= FAILED_STARTS:
                self._fatal = ClusterError(f"evaluators do not start: {message}")
        if held:
            log = latest_log(self._log_folder, held[0])
            failure = Failure(kind=kind, error_type=kind, message=message, log_path=log)
            self._updates.append(Lost(held, failure))

    def _kind_of_loss(self, item: EvaluatorSlot, error: ray.exceptions.RayError) -> str:
        text = str(error)
        if isinstance(error, ray.exceptions.OutOfMemoryError) or "low on memory" in text:
            return failures.HOST_OOM
        if getattr(error, "preempted", False) or "node died" in text.lower():
            return failures.NODE_LOST
        if item.node_id is not None and not self._cluster.is_alive(item.node_id):
            return failures.NODE_LOST
        return failures.WORKER_LOST
