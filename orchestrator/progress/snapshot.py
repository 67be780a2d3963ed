"""Where a sweep stands and what became of it, to and from JSON."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Protocol

from orchestrator.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK
from workers.contract.events import Progress

RUNNING_LISTED = 200


def label(row: Mapping[str, Any]) -> str:
    """Return what an evaluation is, short enough for a line."""
    cache = "" if row.get("method") == "dense" else f" {row.get('n_sink')}+{row.get('window_size')}"
    return f"{row.get('model')} {row.get('dataset')} {row.get('method')}{cache}"


@dataclass(frozen=True)
class Failure:
    """An evaluation that was given up."""

    run_id: str
    label: str
    kind: str
    """One of the kinds of `attempts`."""
    message: str
    """The reason in one line."""
    log_path: str | None = None


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The end of a launch, in numbers."""

    sweep: str
    total: int
    """Evaluations of the grid."""
    done_before: int
    """In the store as `ok` when the launch began."""
    done_elsewhere: int
    """Finished by other drivers meanwhile."""
    ok: int
    failed: int
    skipped: int
    """Left alone: failed in an earlier launch (`--skip-failed`), or beyond `--limit`."""
    not_run: int
    """Wanted, but not run to an end: the launch was stopped."""
    attempts: int
    """Rows that this launch has written."""
    seconds: float
    interrupted: bool
    notes: tuple[str, ...] = ()
    """What a reader has to know about the hardware, one line each."""
    failures: tuple[Failure, ...] = ()
    """The first thousand failures."""

    @property
    def done(self) -> int:
        """Evaluations of the grid that are in the store as `ok`."""
        return self.done_before + self.done_elsewhere + self.ok

    @property
    def exit_code(self) -> int:
        """Return 0 only if every evaluation of the grid is in the store as `ok`."""
        if self.done == self.total:
            return EXIT_OK
        return EXIT_INTERRUPTED if self.interrupted else EXIT_FAILED


@dataclass(frozen=True, kw_only=True)
class Running:
    """An evaluation under way."""

    run_id: str
    label: str
    progress: Progress | None


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Where a sweep stands."""

    sweep: str
    total: int
    done_before: int
    """In the store as `ok` when the launch began."""
    done_elsewhere: int
    """Finished by other drivers since."""
    ok: int
    failed: int
    skipped: int
    waiting: int
    running: tuple[Running, ...] = ()
    evaluators: int = 0
    per_second: float | None = None
    seconds_left: float | None = None
    elapsed: float = 0.0
    state: str = "running"
    """`running`, `stopping` or `ended`."""
    latest: Mapping[str, Any] | None = field(default=None, repr=False)

    @property
    def done(self) -> int:
        """Evaluations of the grid that are in the store as `ok`."""
        return self.done_before + self.done_elsewhere + self.ok


class Listener(Protocol):
    """Told about a sweep while it runs; must not raise and must return quickly."""

    def update(self, snapshot: Snapshot) -> None:
        """Take note of the state; called a few times a second and once at the end."""

    def row(self, row: Mapping[str, Any]) -> None:
        """Take note of a finished attempt, `ok` or `failed`."""

    def note(self, message: str) -> None:
        """Take note of something that happened to the sweep as a whole."""


class Silent:
    """A listener that does not listen."""

    def update(self, snapshot: Snapshot) -> None:
        """Ignore the state."""

    def row(self, row: Mapping[str, Any]) -> None:
        """Ignore a finished attempt."""

    def note(self, message: str) -> None:
        """Ignore a message."""


def describe_snapshot(snapshot: Snapshot) -> dict[str, Any]:
    """Return the state of a sweep as JSON can hold it."""
    numbers = {
        name: getattr(snapshot, name)
        for name in (
            "sweep",
            "total",
            "done",
            "done_before",
            "done_elsewhere",
            "ok",
            "failed",
            "skipped",
            "waiting",
            "evaluators",
            "per_second",
            "seconds_left",
            "elapsed",
            "state",
        )
    }
    running = [
        {"run_id": item.run_id, "label": item.label, **_progress(item.progress)}
        for item in snapshot.running[:RUNNING_LISTED]
    ]
    return {**numbers, "running": running}


def _progress(progress: Progress | None) -> dict[str, Any]:
    values = asdict(progress) if progress is not None else {}
    # JSON knows no infinity: a perplexity that has overflowed is not shown.
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }


def snapshot_of(state: Mapping[str, Any]) -> Snapshot:
    """Rebuild a driver's snapshot from the state that it wrote."""
    counts = {"total", "done_before", "done_elsewhere", "ok", "failed", "skipped", "waiting"}
    known = {
        field.name: state[field.name]
        for field in fields(Snapshot)
        if field.name in state and field.name != "running"
    }
    missing = dict.fromkeys(counts, 0) | {"sweep": "?"}
    running = tuple(_running(item) for item in state.get("running", ()))
    return Snapshot(**{**missing, **known, "running": running})


def _running(item: Mapping[str, Any]) -> Running:
    names = [field.name for field in fields(Progress)]
    progress = Progress(**{name: item[name] for name in names}) if "phase" in item else None
    return Running(run_id=item["run_id"], label=item["label"], progress=progress)
