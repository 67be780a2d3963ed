"""Run evaluations in this process, one at a time, without Ray.

The evaluator works in a thread of its own, so that Ctrl-C, the display and the heartbeat do not
wait for it. The thread is a daemon: an evaluation that does not come to a stop in time must not
keep the process alive (`orchestrator.process` ends it then).
"""

import queue
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.errors import ResourcesError
from orchestrator.executors.base import Happened, Returned, Slot, Update
from orchestrator.process import EVALUATOR_THREAD
from orchestrator.store.remaining import device_matches
from orchestrator.sweep import Resources
from workers.contract.events import DEFAULT_EVALUATOR, Assignment, Finished
from workers.contract.spec import loading_key
from workers.host.evaluator_host import EvaluatorHost, wait_politely

_SLOT = "inline"
CLOSING_SECONDS = 1.0
"""What the evaluator gets to put its model away."""


class InlineExecutor:
    """One slot: this process."""

    def __init__(
        self,
        *,
        evaluator: str = DEFAULT_EVALUATOR,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.notes: Sequence[str] = ("in this process, one evaluation at a time",)
        self._path, self._options = evaluator, dict(options or {})
        self._inbox: queue.SimpleQueue[Assignment | None] = queue.SimpleQueue()
        self._outbox: queue.SimpleQueue[Update | BaseException] = queue.SimpleQueue()
        self._cancelled = threading.Event()
        self._thread: threading.Thread | None = None
        self._current: str | None = None
        self._model: str | None = None

    def room(self) -> int:
        """Return 1: this process."""
        return 1

    def scale(self, wanted: int) -> None:
        """Nothing to do: there is one evaluator, and it stays."""

    def free(self) -> Sequence[Slot]:
        """Return the one slot, unless it has work or was cancelled."""
        if self._current is not None or self._cancelled.is_set():
            return ()
        return (Slot(_SLOT, self._model),)

    def submit(self, slot: str, assignments: Sequence[Assignment]) -> None:
        """Start the evaluation."""
        (assignment,) = assignments
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=EVALUATOR_THREAD, daemon=True)
            self._thread.start()
        self._current = assignment.spec.run_id
        self._model = loading_key(assignment.spec)
        self._inbox.put(assignment)

    def wait(self, timeout: float) -> Sequence[Update]:
        """Return what the evaluator told, after at most `timeout` seconds."""
        updates: list[Update] = []
        try:
            updates.append(self._received(self._outbox.get(timeout=max(0.0, timeout))))
            while not self._outbox.empty():
                updates.append(self._received(self._outbox.get_nowait()))
        except queue.Empty:
            pass
        return updates

    def cancel(self) -> None:
        """Let the evaluation stop after its next report."""
        self._cancelled.set()

    def why(self) -> str:
        """Return why nothing runs."""
        return "the evaluator of this process waits for work"

    def news(self) -> Sequence[str]:
        """Return nothing: a process stays what it is."""
        return ()

    def busy(self) -> int:
        """Return whether an evaluation is under way."""
        return int(self._current is not None)

    def close(self) -> None:
        """Let the thread end when it can, and wait a moment for it."""
        self._cancelled.set()
        self._inbox.put(None)
        if self._thread is not None:
            self._thread.join(CLOSING_SECONDS)

    def _received(self, item: Update | BaseException) -> Update:
        if isinstance(item, BaseException):
            self._current = None
            raise item
        if not isinstance(item, Happened):
            self._current = None
        elif isinstance(item.event, Finished):
            self._current = None
            self._model = self._model if item.event.evaluator_usable else None
        return item

    def _work(self) -> None:
        try:
            host = EvaluatorHost(self._path, self._options)
            while (assignment := self._inbox.get()) is not None:
                is_usable = True
                for event in host.events(assignment):
                    self._outbox.put(Happened(assignment.spec.run_id, event))
                    if isinstance(event, Finished):
                        is_usable = event.evaluator_usable
                        break
                    if self._cancelled.is_set():
                        self._outbox.put(Returned((assignment.spec.run_id,)))
                        break
                if not is_usable:
                    host = EvaluatorHost(self._path, self._options)
        except BaseException as error:  # the main thread raises it
            self._outbox.put(error)


def options_for(resources: Resources) -> dict[str, Any]:
    """Return what an evaluator on this machine is built with.

    Raises `ResourcesError` if the machine has not what is asked for.
    """
    wait_politely()
    import torch  # only here: a launch on a cluster needs no torch on this machine

    name = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    if resources.gpus and name is None:
        message = "the grid asks for a GPU and this machine has none; run on its CPU with"
        raise ResourcesError(f"{message} --set resources.gpus=0")
    if resources.accelerator and not device_matches(name, resources.accelerator):
        message = f"the grid asks for accelerator {resources.accelerator} and this machine has"
        raise ResourcesError(f"{message} {name or 'no GPU'}; change resources.accelerator")
    return {
        "device": "cpu" if resources.gpus == 0 else "auto",
        "num_threads": resources.cpus,
    }
