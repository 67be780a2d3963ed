"""Count what happens to the evaluations of a sweep, and say where it stands."""

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.driver.forecast import Forecast
from orchestrator.progress.snapshot import GivenUp, Running, Snapshot, label
from orchestrator.store.remaining import Remaining
from workers.contract.events import Progress
from workers.contract.spec import EvalSpec

FAILURES_KEPT = 1000
"""Failures that are described one by one; further ones are only counted."""
RATE_WINDOW = 60.0
"""Seconds over which the rate is taken."""


@dataclass
class Tally:
    """The counts of one launch."""

    sweep: str
    total: int
    remaining: Remaining
    forecast: Forecast = field(default_factory=lambda: Forecast(()))
    ok: int = 0
    failed: int = 0
    done_elsewhere: int = 0
    attempts: int = 0
    failures: list[GivenUp] = field(default_factory=list)
    running: dict[str, Running] = field(default_factory=dict)
    _specs: dict[str, EvalSpec] = field(default_factory=dict)
    _gone_on: set[str] = field(default_factory=set)
    latest: Mapping[str, Any] | None = None
    started: float = field(default_factory=time.monotonic)
    _marks: deque[tuple[float, int]] = field(default_factory=deque)

    def start(self, run_id: str, spec: EvalSpec, *, goes_on: bool = False) -> None:
        """An evaluation was handed to an evaluator; `goes_on`: some of it had been done before."""
        self.running[run_id] = Running(run_id=run_id, label=spec_label(spec), progress=None)
        self._specs[run_id] = spec
        if goes_on:
            self._gone_on.add(run_id)

    def progress(self, run_id: str, progress: Progress) -> None:
        """An evaluation told where it stands."""
        if (item := self.running.get(run_id)) is None:
            return
        self.forecast.heard(self._specs[run_id], progress)
        if progress.perplexity is None and item.progress is not None:
            progress = replace(progress, perplexity=item.progress.perplexity)
        self.running[run_id] = Running(run_id=run_id, label=item.label, progress=progress)

    def stop(self, run_id: str) -> None:
        """An evaluation is no longer under way."""
        self.running.pop(run_id, None)
        self._specs.pop(run_id, None)
        self.forecast.begun_again(run_id)

    def attempt(self, row: Mapping[str, Any]) -> None:
        """An attempt has ended."""
        self.attempts += 1
        self.latest = row
        if row["status"] == "ok":
            self.ok += 1
            run_id, started, finished = row["run_id"], row["started_at"], row["finished_at"]
            seconds = None  # how long it took, if all of it was done now
            if run_id not in self._gone_on and started and finished:
                seconds = (finished - started).total_seconds()
            self.forecast.ended(run_id, seconds, is_first=row.get("worker_sequence") == 0)

    def give_up(self, run_id: str, name: str, row: Mapping[str, Any]) -> None:
        """An evaluation has failed for good."""
        self.failed += 1
        self.forecast.ended(run_id)
        if len(self.failures) < FAILURES_KEPT:
            kind = row.get("error_kind") or ""
            reason = (row.get("error_message") or "").strip()
            self.failures.append(GivenUp(run_id, name, kind, reason, row.get("log_path")))

    def snapshot(self, waiting: int, evaluators: int, state: str) -> Snapshot:
        """Return where the sweep stands now."""
        per_second = self._rate()
        left = waiting + len(self.running)
        by_count = left / per_second if per_second else None
        return Snapshot(
            sweep=self.sweep,
            total=self.total,
            done_before=len(self.remaining.done),
            done_elsewhere=self.done_elsewhere,
            ok=self.ok,
            failed=self.failed,
            skipped=len(self.remaining.skipped),
            waiting=waiting,
            running=tuple(self.running.values()),
            evaluators=evaluators,
            attempts=self.attempts,
            per_second=per_second,
            seconds_left=self.forecast.seconds_left(left, evaluators) or by_count,
            seconds=time.monotonic() - self.started,
            state=state,
            latest=self.latest,
        )

    def _rate(self) -> float | None:
        """Return ended evaluations per second over the last minute; None before the first."""
        now, ended = time.monotonic(), self.ok + self.failed
        if not self._marks or now - self._marks[-1][0] >= 1.0:
            self._marks.append((now, ended))
        while len(self._marks) > 2 and now - self._marks[1][0] > RATE_WINDOW:
            self._marks.popleft()
        then, before = self._marks[0]
        if ended == before or now - then < 0.5:
            before, then = 0, self.started
        return (ended - before) / (now - then) if ended > before and now > then else None


def spec_label(spec: EvalSpec) -> str:
    """Return what an evaluation is, short enough for a line."""
    fields = ("model", "dataset", "method", "n_sink", "window_size")
    return label({name: getattr(spec, name) for name in fields})
