"""Keep one evaluator and drive it by plain calls, without Ray.

The evaluator is named by an import path, so tests and benchmarks can use their own. It raises what
goes wrong; only here it is caught. With the exception in hand the host decides what kind of failure
it is and whether the evaluator is usable, and builds the row. Whatever the evaluator does, an
evaluation handed to the host ends in exactly one `Finished`.
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

from workers.contract.events import Assignment, Evaluation, Event, Finished
from workers.contract.failures import Failure
from workers.contract.rows import build_row
from workers.host.output_capture import OutputCapture
from workers.host.shipped_files import Shelf

LOGGED_SECONDS = 1.0
"""An evaluation that takes longer leaves a log, also if it printed nothing."""
SPINS = "1000"
"""Rounds of spinning before a thread sleeps."""
VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


class EvaluatorLike(Protocol):
    """What computes an evaluation: `workers.evaluator.Evaluator`, or a test's own."""

    def columns(self) -> Mapping[str, Any]:
        """Return columns of every row: the device and the versions of what computes."""

    def run(self, assignment: Assignment) -> Evaluation:
        """Yield progress and spans, return the result columns, raise what goes wrong."""


@dataclass
class Batch:
    """What one call of `EvaluatorHost.work` brought."""

    events: list[tuple[str, Event]] = field(default_factory=list)
    """(run id, event), in the order in which they happened."""
    under_way: str | None = None
    """Run id that the next call goes on with; what else was handed over has not begun."""


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
        self._sequence = 0

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
        batch.under_way = self._current[0] if self._current else None
        return batch

    def events(self, assignment: Assignment) -> Iterator[Event]:
        """Run one evaluation; yield its events, the last of which is `Finished`, always."""
        started, log = datetime.now(timezone.utc), None
        failure: Failure | None = None
        results: Mapping[str, Any] = {}
        if self._log_folder is not None:
            name = f"{assignment.spec.run_id}-{assignment.attempt}-{uuid4().hex[:8]}.log"
            log = Path(self._log_folder) / name
        with OutputCapture(log) as capture:
            try:
                spec = self.shelf.localise(assignment.spec)
                here = assignment if spec is assignment.spec else replace(assignment, spec=spec)
                results = yield from self._evaluator.run(here)
                if not results:
                    raise RuntimeError("the evaluator ended without a result")
            except Exception as error:
                failure = Failure.of(error)
                results = failure.columns()
            place = {
                **self._evaluator.columns(),
                **self._columns,
                "worker_sequence": self._sequence,
            }
            row = build_row(
                assignment.spec,
                sweep=assignment.sweep,
                attempt=assignment.attempt,
                parts=(place, assignment.provenance, {"started_at": started, **results}),
            )
            if row["status"] == "failed":
                capture.write(row.get("traceback") or row.get("error_message") or "failed")
            if capture.seconds() >= LOGGED_SECONDS or row["status"] == "failed":
                capture.write(f"{row['run_id']} attempt {row['attempt']}: {row['status']}")
        row["log_path"] = capture.kept
        self._sequence += 1
        yield Finished(row=row, evaluator_usable=failure is None or failure.evaluator_usable)


def build_evaluator(path: str, options: Mapping[str, Any]) -> EvaluatorLike:
    """Import `module:Class` and make an evaluator of it."""
    wait_politely()
    module, _, name = path.partition(":")
    factory = getattr(importlib.import_module(module), name)
    return cast("EvaluatorLike", factory(**options))


def wait_politely() -> None:
    """Set the waiting of threads; has an effect only before torch is imported."""
    if not any(name in os.environ for name in VARIABLES):
        os.environ["GOMP_SPINCOUNT"] = SPINS
