"""Keep one evaluator and drive it by plain calls, without Ray.

The evaluator is named by an import path, so tests and benchmarks can use their own. Whatever it
does, an evaluation handed to the host ends in exactly one `Finished`.
"""

import importlib
import os
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol, cast
from uuid import uuid4

from workers.contract.events import Assignment, Event, Finished
from workers.contract.rows import failed_row
from workers.host.output_capture import OutputCapture
from workers.host.shipped_files import Shelf

DEFAULT_EVALUATOR = "workers.evaluator:Evaluator"
"""Import path of the evaluator that measures."""
LOGGED_SECONDS = 1.0
"""An evaluation that takes longer leaves a log, also if it printed nothing."""
SPINS = "1000"
"""Rounds of spinning before a thread sleeps."""
VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


class EvaluatorLike(Protocol):
    """What computes an evaluation: `workers.evaluator.Evaluator`, or a test's own."""

    def run(self, assignment: Assignment) -> Iterator[Event]:
        """Yield progress and parts, then exactly one `Finished`."""


@dataclass
class Batch:
    """What one call of `EvaluatorHost.work` brought."""

    events: list[tuple[str, Event]] = field(default_factory=list)
    """(run id, event), in the order in which they happened."""
    not_started: tuple[str, ...] = ()
    """Run ids that were handed over and for which the time did not suffice."""


class EvaluatorHost:
    """One evaluator and the evaluation it is at.

    columns: added to every row (where the process runs).
    log_folder: where what an evaluation prints is kept; None leaves the output alone.
    """

    def __init__(
        self,
        path: str,
        options: Mapping[str, Any],
        *,
        columns: Mapping[str, Any] | None = None,
        log_folder: str | None = None,
    ) -> None:
        self._evaluator = build_evaluator(path, options)
        self._columns = dict(columns or {})
        self._log_folder = log_folder
        self.shelf = Shelf()
        self._current: tuple[str, Iterator[Event]] | None = None

    def work(self, assignments: Sequence[Assignment], max_seconds: float) -> Batch:
        """Go on with the evaluation under way, then start these, for about `max_seconds`.

        Returns as soon as everything is finished, or the evaluator must be replaced.
        """
        deadline = time.monotonic() + max_seconds
        waiting, batch = deque(assignments), Batch()
        while self._current is not None or waiting:
            if self._current is None:
                assignment = waiting.popleft()
                self._current = (assignment.spec.run_id, self.events(assignment))
            run_id, events = self._current
            event = next(events)
            batch.events.append((run_id, event))
            if isinstance(event, Finished):
                self._current = None
                if not event.evaluator_usable:
                    break
            if time.monotonic() >= deadline:
                break
        batch.not_started = tuple(item.spec.run_id for item in waiting)
        return batch

    def events(self, assignment: Assignment) -> Iterator[Event]:
        """Run one evaluation; yield its events, the last of which is `Finished`, always."""
        capture = OutputCapture(self._log_path(assignment))
        started = datetime.now(timezone.utc)
        with capture:
            finished = None
            try:
                for event in self._evaluator.run(self._localised(assignment)):
                    if isinstance(event, Finished):
                        finished = event
                        break
                    yield event
                finished = finished or _unfinished(assignment, started)
            except Exception as error:
                finished = Finished(row=failed_row(assignment, error, started))
            _log_ending(capture, finished.row)
        paths = {"model": assignment.spec.model, "dataset": assignment.spec.dataset}
        extra = {**self._columns, **paths, "log_path": capture.kept}
        yield replace(finished, row={**finished.row, **extra})

    def _localised(self, assignment: Assignment) -> Assignment:
        spec = self.shelf.localise(assignment.spec)
        return assignment if spec is assignment.spec else replace(assignment, spec=spec)

    def _log_path(self, assignment: Assignment) -> Path | None:
        if self._log_folder is None:
            return None
        name = f"{assignment.spec.run_id}-{assignment.attempt}-{uuid4().hex[:8]}.log"
        return Path(self._log_folder) / name


def build_evaluator(path: str, options: Mapping[str, Any]) -> EvaluatorLike:
    """Import `module:Class` and make an evaluator of it."""
    wait_politely()
    module, _, name = path.partition(":")
    factory = getattr(importlib.import_module(module), name)
    return cast("EvaluatorLike", factory(**options))


def _unfinished(assignment: Assignment, started: datetime) -> Finished:
    error = RuntimeError("the evaluator ended without a result")
    return Finished(row=failed_row(assignment, error, started))


def _log_ending(capture: OutputCapture, row: Mapping[str, Any]) -> None:
    """Write the traceback of a failure, and a last line where there is something to end."""
    if row["status"] == "failed":
        capture.write(row.get("traceback") or row.get("error_message") or "failed")
    if capture.seconds() >= LOGGED_SECONDS or row["status"] == "failed":
        capture.write(f"{row['run_id']} attempt {row['attempt']}: {row['status']}")


def wait_politely() -> None:
    """Set the waiting of threads; has an effect only before torch is imported."""
    if not any(name in os.environ for name in VARIABLES):
        os.environ["GOMP_SPINCOUNT"] = SPINS
