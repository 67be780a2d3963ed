"""Run evaluations on a Ray cluster, on actors that each own a GPU or a CPU slot.

Every call to an actor lasts about a second and returns a batch of events, so that progress and
finished parts flow, a stop is clean between calls, and nothing relies on Ray's generators.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import ray
import ray.exceptions

from orchestrator.cluster.connection import Cluster
from orchestrator.cluster.placement import describe_room
from orchestrator.errors import ClusterError
from orchestrator.executors.base import Happened, Lost, Returned, Slot, Update
from orchestrator.executors.evaluator_slot import (
    EvaluatorSlot,
    PackedFiles,
    actor_options,
    latest_log,
    missing_requests,
    one_line,
)
from orchestrator.executors.metrics import Metrics
from orchestrator.executors.room import Room
from orchestrator.sweep import Resources
from workers.contract import failures
from workers.contract.events import DEFAULT_EVALUATOR, Assignment, Finished
from workers.contract.failures import Failure
from workers.contract.installation import installation
from workers.contract.spec import loading_key
from workers.host.actor import EVALUATOR, Hello
from workers.host.evaluator_host import Batch
from workers.host.output_capture import FALLBACK as LOCAL_LOGS

CALL_SECONDS = 1.0
"""How long a call to an evaluator lasts; how often a long evaluation reports."""
IDLE_SECONDS = 60.0
"""An evaluator without work is released after this time."""
SILENT_SECONDS = 40.0
"""How long the head may be silent before the sweep ends; Ray ends the process after 60."""
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
        idle_seconds: float = IDLE_SECONDS,
        silent_seconds: float = SILENT_SECONDS,
    ) -> None:
        """Survey the cluster. Raises `ResourcesError` if no evaluation could ever run on it.

        evaluator, options: import path of the evaluator and what it is built with (`device`,
        …); `num_threads` follows from the slot. log_folder: `Store.log_folder`.
        timed: see `placement.requests`. idle_seconds: after so long without work an evaluator is
        released. silent_seconds: how long the cluster's head may be silent before the sweep ends.
        """
        self._cluster, self._resources = cluster, resources
        self._path, self._options = evaluator, dict(options or {})
        self._idle_seconds = idle_seconds
        self._log_folder = log_folder or str(LOCAL_LOGS)
        self._evaluators: dict[str, EvaluatorSlot] = {}
        self._files = PackedFiles(ray.put)
        self._room = Room(cluster, resources, timed=timed, silent_seconds=silent_seconds)
        room, alone = self._room.requests, timed or resources.cpus is None
        self.notes: Sequence[str] = (describe_room(room[0], len(room), alone=alone),)
        self._metrics = Metrics()
        self._updates: list[Update] = []
        """What is to be told at the next `wait`."""
        self._fatal: ClusterError | None = None
        """Ends the sweep as soon as everything else has been told."""
        self._news: list[str] = []
        self._wanted = 0
        self._started = 0
        self._start_began = time.monotonic()
        self._failed_starts = 0
        self._cancelled = False

    def room(self) -> int:
        """Return how many evaluators the cluster has, or could have, room for."""
        return len(self._room.requests)

    def scale(self, wanted: int) -> None:
        """Have as many evaluators as there is work and room for; release idle ones."""
        if self._has_died():
            return
        if self._room.is_due():
            self._survey()
        self._wanted = wanted
        if self._room.is_silent:
            return
        # Idle evaluators are let go of, and unborn ones that nobody needs.
        now, surplus = time.monotonic(), len(self._evaluators) - wanted
        for item in list(self._evaluators.values()):
            idle = item.call is None and now - item.idle_since > self._idle_seconds
            unborn = item.node_id is None and surplus > 0
            if idle or unborn:
                surplus -= 1
                self._let_go(item)
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
        patience = 0.0 if self._updates or self._fatal else timeout
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

    def why(self) -> str:
        """Return why no evaluator has work."""
        starting = [item for item in self._evaluators.values() if item.node_id is None]
        begun = not self._room.is_silent and any(
            self._cluster.has_process(item.handle) for item in starting
        )
        since = time.monotonic() - self._start_began
        return self._room.why_nothing_runs(len(starting), since, begun=begun)

    def news(self) -> Sequence[str]:
        """Return what has changed about the hardware since the last call, one line each."""
        news, self._news = self._news, []
        return news

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

    def _survey(self) -> None:
        """Look what the cluster has, and give up the evaluators whose nodes are gone."""
        try:
            if (news := self._room.listen()) is not None:
                self._news.append(news)
            if self._room.is_silent:
                return
            self._room.survey()
        except ClusterError as error:
            self._fatal = error
            return
        for item in list(self._evaluators.values()):
            node_id = item.node_id or item.request.node_id
            if not self._room.has(node_id):
                self._lose(item, failures.NODE_LOST, f"node {node_id} is gone")
        self._report()

    def _report(self) -> None:
        """Tell Ray's metrics what the evaluators do."""
        starting = sum(1 for item in self._evaluators.values() if item.node_id is None)
        idle = len(self._evaluators) - (busy := self.busy()) - starting
        self._metrics.report(busy=busy, idle=idle, starting=starting, wanted=self._wanted)

    def _has_died(self) -> bool:
        """Start a local Ray again that has died; tell whether it had."""
        local = self._cluster.local
        if local is None or self._fatal is not None or (death := local.death()) is None:
            return False
        for item in list(self._evaluators.values()):
            self._lose(item, failures.NODE_LOST, f"Ray on this machine died: {death}", alive=False)
        try:
            self._news.append(local.restart(death))
            self._room.survey()
            self._metrics = Metrics()
        except ClusterError as error:
            self._fatal = error
        return True

    def _start(self, wanted: int) -> None:
        starting = sum(1 for item in self._evaluators.values() if item.node_id is None)
        room = self._room.requests
        count = min(wanted, len(room)) - len(self._evaluators)
        count = min(count, STARTS_AT_ONCE - starting)
        if count <= 0:
            return
        missing = missing_requests(room, [item.request for item in self._evaluators.values()])
        if not starting:
            self._start_began = time.monotonic()
        for request in missing[:count]:
            self._started += 1
            chosen = {"num_threads": request.num_threads, **self._options}
            if chosen.get("device") == "auto":  # what was given must be used, or it refuses
                chosen["device"] = "cuda" if request.gpus else "cpu"
            actor = EVALUATOR.options(**actor_options(request, self._room.left_out)).remote(
                self._path, chosen, self._log_folder, installation(), request.gpus
            )
            item = EvaluatorSlot(f"evaluator-{self._started}", actor, request)
            item.call = item.handle.hello.remote()
            self._evaluators[item.id] = item

    def _let_go(self, item: EvaluatorSlot, *, alive: bool = True) -> None:
        """End an evaluator, the one way there is; give back what it still holds.

        alive: whether there is a Ray that can be asked to.
        """
        del self._evaluators[item.id]
        if alive and not self._room.is_silent:
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
            kind = self._room.kind_of_loss(error, item.node_id, item.request.node_id)
            message = one_line(error)
            if item.node_id is None and kind != failures.NODE_LOST:
                self._failed_starts += 1
                if self._failed_starts >= FAILED_STARTS:
                    self._fatal = ClusterError(f"evaluators do not start: {message}")
            self._lose(item, kind, message)
            return
        item.idle_since = time.monotonic()
        if isinstance(result, Batch):
            self._reported(item, result)
            return
        hello: Hello = result  # it is there, or says why it will not work
        self._failed_starts = 0
        if hello.other_code is None and hello.no_device is None:
            item.node_id, item.process_id = hello.node_id, hello.process_id
            return
        self._let_go(item)
        if (news := self._room.refuse(hello)) is not None:
            self._news.append(news)

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

    def _lose(self, item: EvaluatorSlot, kind: str, message: str, *, alive: bool = True) -> None:
        """Take an evaluator for dead, and with it what it had begun."""
        held = tuple(item.run_ids)
        item.run_ids = {}
        self._let_go(item, alive=alive)
        node_id = item.node_id or item.request.node_id
        if kind == failures.NODE_LOST and node_id is not None and alive:
            self._room.lose(node_id)
        if held:
            log = latest_log(self._log_folder, held[0])
            failure = Failure(kind=kind, error_type=kind, message=message, log_path=log)
            self._updates.append(Lost(held, failure))
