"""Run evaluations in this process, one at a time, without Ray.

The evaluator works in a thread of its own, so that Ctrl-C, the display and the heartbeat do not
wait for it. The thread is a daemon: an evaluation that does not come to a stop in time must not
keep the process alive.
"""

import importlib
import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, cast

from orchestrator.attempts import ERROR
from orchestrator.executor import Happened, Lost, Returned, Slot, Update, model_key
from workers.events import Assignment, Event, Finished

DEFAULT_EVALUATOR = "workers.evaluate:Evaluator"
"""Import path of the evaluator that measures."""
_SLOT = "inline"


class EvaluatorLike(Protocol):
    """What computes an evaluation: `workers.evaluate.Evaluator`, or a test's own."""

    def run(self, assignment: Assignment) -> Iterator[Event]:
        """Yield progress and parts, then exactly one `Finished`."""


def build_evaluator(path: str, options: Mapping[str, Any]) -> EvaluatorLike:
    """Import `module:Class` and make an evaluator of it."""
    module, _, name = path.partition(":")
    factory = getattr(importlib.import_module(module), name)
    return cast("EvaluatorLike", factory(**options))


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
            self._thread = threading.Thread(target=self._work, name="evaluator", daemon=True)
            self._thread.start()
        self._current = assignment.spec.run_id
        self._model = model_key(assignment.spec)
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

    def busy(self) -> int:
        """Return whether an evaluation is under way."""
        return int(self._current is not None)

    def close(self) -> None:
        """Let the thread end when it can."""
        self._cancelled.set()
        self._inbox.put(None)

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
            evaluator = build_evaluator(self._path, self._options)
            while (assignment := self._inbox.get()) is not None:
                if not self._evaluate(evaluator, assignment):
                    evaluator = build_evaluator(self._path, self._options)
        except BaseException as error:  # the main thread raises it
            self._outbox.put(error)

    def _evaluate(self, evaluator: EvaluatorLike, assignment: Assignment) -> bool:
        """Run one evaluation to its end; return whether the evaluator can run another."""
        run_id = assignment.spec.run_id
        for event in evaluator.run(assignment):
            self._outbox.put(Happened(run_id, event, _SLOT))
            if isinstance(event, Finished):
                return event.evaluator_usable
            if self._cancelled.is_set():
                self._outbox.put(Returned((run_id,)))
                return True
        self._outbox.put(Lost((run_id,), ERROR, "the evaluator ended without a result"))
        return True
