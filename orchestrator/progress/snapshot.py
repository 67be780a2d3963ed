"""Where a sweep stands and what became of it, to and from JSON."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Protocol

from orchestrator.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK
from workers.contract.events import Progress

RUNNING_LISTED = 200
LONGEST_NAME = 36
"""Characters of a model or a text in a line; the ends of paths tell them apart."""


def label(row: Mapping[str, Any]) -> str:
    """Return what an evaluation is, short enough for a line."""
    cache = "" if row.get("method") == "dense" else f" {row.get('n_sink')}+{row.get('window_size')}"
    names = f"{shortened(str(row.get('model')))} {shortened(str(row.get('dataset')))}"
    return f"{names} {row.get('method')}{cache}"


def shortened(name: str) -> str:
    """Return a name without the start of its path, if it is long."""
    if len(name) <= LONGEST_NAME:
        return name
    kept = "file:…" if name.startswith("file:") else "…"
    return kept + name[len(kept) - LONGEST_NAME :]


@dataclass(frozen=True)
class GivenUp:
    """An evaluation that has failed for good."""

    run_id: str
    label: str
    kind: str
    """One of the kinds of `workers.contract.failures`."""
    message: str
    """The reason, whole."""
    log_path: str | None = None


@dataclass(frozen=True, kw_only=True)
class Running:
    """An evaluation under way."""

    run_id: str
    label: str
    progress: Progress | None


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Where a sweep stands; the last one says what became of it."""

    sweep: str
    total: int = 0
    """Evaluations of the grid."""
    done_before: int = 0
    """In the store as `ok` when the launch began."""
    done_elsewhere: int = 0
    """Finished by other drivers since."""
    ok: int = 0
    failed: int = 0
    skipped: int = 0
    """Left alone: failed in an earlier launch (`--skip-failed`), or beyond `--limit`."""
    waiting: int = 0
    running: tuple[Running, ...] = ()
    evaluators: int = 0
    attempts: int = 0
    """Rows that this launch has written."""
    per_second: float | None = None
    seconds_left: float | None = None
    seconds: float = 0.0
    """Since the launch began."""
    state: str = "running"
    """`running`, `stopping` or `ended`."""
    interrupted: bool = False
    notes: tuple[str, ...] = ()
    """What a reader has to know about the hardware, one line each."""
    failures: tuple[GivenUp, ...] = field(default=(), repr=False)
    """The first thousand that were given up."""
    latest: Mapping[str, Any] | None = field(default=None, repr=False)
    """The row that was written last."""

    @property
    def done(self) -> int:
        """Evaluations of the grid that are in the store as `ok`."""
        return self.done_before + self.done_elsewhere + self.ok

    @property
    def not_run(self) -> int:
        """Wanted, but without an end so far; at the end of a launch: it was stopped."""
        return self.waiting + len(self.running)

    @property
    def exit_code(self) -> int:
        """Return 0 only if every evaluation of the grid is in the store as `ok`."""
        if self.done == self.total:
            return EXIT_OK
        return EXIT_INTERRUPTED if self.interrupted else EXIT_FAILED

    def to_json(self) -> dict[str, Any]:
        """Return what other processes are told: numbers, and what runs (at most 200)."""
        told = {name: getattr(self, name) for name in _TOLD}
        running = []
        for item in self.running[:RUNNING_LISTED]:
            values = asdict(item.progress) if item.progress is not None else {}
            # JSON knows no infinity: a perplexity that has overflowed is not shown.
            progress = {
                name: None if isinstance(value, float) and not math.isfinite(value) else value
                for name, value in values.items()
            }
            running.append({"run_id": item.run_id, "label": item.label, **progress})
        return {**told, "done": self.done, "elapsed": self.seconds, "running": running}

    def ending(self) -> dict[str, Any]:
        """Return what a launch says about itself when it is over, as JSON can hold it."""
        told = self.to_json()
        named = {"not_run": self.not_run, "interrupted": self.interrupted, "notes": self.notes}
        failures = [asdict(failure) for failure in self.failures]
        return {**told, **named, "failures": failures, "exit_code": self.exit_code}

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> "Snapshot":
        """Rebuild a snapshot; what an older or newer driver does not tell has its default."""
        known = {name: state[name] for name in _TOLD if name in state}
        known.setdefault("seconds", state.get("elapsed", 0.0))
        names = [field.name for field in fields(Progress)]
        running = []
        for item in state.get("running", ()):
            progress = Progress(**{name: item[name] for name in names}) if "phase" in item else None
            running.append(Running(run_id=item["run_id"], label=item["label"], progress=progress))
        return cls(**{"sweep": "?", **known, "running": tuple(running)})


_TOLD = tuple(
    item.name
    for item in fields(Snapshot)
    if item.name not in ("running", "notes", "failures", "latest", "interrupted")
)


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
