"""What is in a store and who is working on it, from any machine that sees the store."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.progress.causes import NOT_TRIED, cause_of
from orchestrator.progress.snapshot import label
from orchestrator.store.heartbeats import living_drivers
from orchestrator.store.remaining import is_done
from orchestrator.store.store import Store
from orchestrator.sweep import Sweep

COLUMNS = (
    *("run_id", "status", "sweep", "device_name", "finished_at"),
    *("error_kind", "error_type", "error_message", "log_path"),
    *("model", "dataset", "method", "n_sink", "window_size"),
)


@dataclass(frozen=True, kw_only=True)
class SweepState:
    """The evaluations in the store that belong to one sweep name."""

    sweep: str | None
    ok: int
    failed: int
    """Without an `ok` row, from this sweep or another."""
    attempts: int
    latest: str | None
    """When the last attempt ended, in UTC."""


@dataclass(frozen=True, kw_only=True)
class Cause:
    """Failed evaluations that failed for the same reason."""

    kind: str | None
    reason: str
    """The first line of the latest message."""
    message: str
    """The latest message, whole."""
    evaluations: int
    example: str
    """Run id of the latest one, and what it is."""
    log_path: str | None


@dataclass(frozen=True, kw_only=True)
class EntryState:
    """One entry of a grid."""

    entry: int
    evaluations: int
    ok: int
    failed: int


@dataclass(frozen=True, kw_only=True)
class Status:
    """Everything that `sweep status` shows."""

    store: str
    drivers: tuple[Mapping[str, Any], ...]
    """The states of the drivers that are alive, as `presence` describes them."""
    sweeps: tuple[SweepState, ...]
    causes: tuple[Cause, ...]
    entries: tuple[EntryState, ...]
    """Only with a grid."""
    damaged: tuple[tuple[str, str], ...]
    """(file, reason): parts that cannot be read."""

    def as_json(self) -> dict[str, Any]:
        """Return the status as plain data."""
        return asdict(self)


def read_status(store: Store, grid: Sweep | None = None) -> Status:
    """Read a store; it need not exist. Raises `StoreError` if it cannot be read."""
    trials = store.trials(COLUMNS)
    drivers = living_drivers(store)
    ok = trials.filter(pc.equal(trials["status"], pa.scalar("ok")))
    # Failed: the latest such attempt of every evaluation without an `ok` row.
    failed = trials.filter(pc.equal(trials["status"], pa.scalar("failed")))
    is_ok = pc.is_in(failed["run_id"], value_set=ok["run_id"].combine_chunks())
    failed = failed.filter(pc.invert(is_ok)).sort_by([("finished_at", "ascending")])
    numbered = failed.append_column("_row", pa.array(range(failed.num_rows), pa.int64()))
    failed = failed.take(numbered.group_by("run_id").aggregate([("_row", "max")])["_row_max"])
    return Status(
        store=store.uri,
        drivers=tuple(drivers),
        sweeps=tuple(_sweeps(trials, ok, failed)),
        causes=tuple(_causes(failed)),
        entries=tuple(_entries(grid, trials, failed)) if grid else (),
        damaged=tuple(store.damaged),
    )


def _sweeps(trials: pa.Table, ok: pa.Table, failed: pa.Table) -> list[SweepState]:
    def distinct(table: pa.Table) -> dict[str | None, int]:
        counted = table.group_by("sweep").aggregate([("run_id", "count_distinct")]).to_pylist()
        return {row["sweep"]: row["run_id_count_distinct"] for row in counted}

    n_ok, n_failed = distinct(ok), distinct(failed)
    grouped = trials.group_by("sweep").aggregate([("run_id", "count"), ("finished_at", "max")])
    rows = sorted(grouped.to_pylist(), key=lambda row: str(row["finished_at_max"]))
    return [
        SweepState(
            sweep=row["sweep"],
            ok=n_ok.get(row["sweep"], 0),
            failed=n_failed.get(row["sweep"], 0),
            attempts=row["run_id_count"],
            latest=row["finished_at_max"] and row["finished_at_max"].isoformat(timespec="seconds"),
        )
        for row in rows
    ]


def _causes(failed: pa.Table) -> list[Cause]:
    groups: dict[tuple[str | None, str], list[dict[str, Any]]] = {}
    for row in failed.sort_by([("finished_at", "ascending")]).to_pylist():
        groups.setdefault((row["error_kind"], cause_of(_message(row))), []).append(row)
    causes = [
        Cause(
            kind=kind,
            reason=reason,
            message=_message(rows[-1]).removeprefix(NOT_TRIED),
            evaluations=len(rows),
            example=f"{rows[-1]['run_id']} {label(rows[-1])}",
            log_path=rows[-1]["log_path"],
        )
        for (kind, reason), rows in groups.items()
    ]
    return sorted(causes, key=lambda cause: -cause.evaluations)


def _message(row: Mapping[str, Any]) -> str:
    return (row["error_message"] or row["error_type"] or "no message").strip()


def _entries(grid: Sweep, trials: pa.Table, failed: pa.Table) -> list[EntryState]:
    run_ids = [item.spec.run_id for item in grid.evaluations]
    done = is_done(pa.array(run_ids, pa.string()), grid.evaluations, grid.resources, trials)
    failed_ids = set(failed["run_id"].to_pylist())
    counts: dict[int, list[int]] = {}
    for item, run_id, is_ok in zip(grid.evaluations, run_ids, done.tolist(), strict=True):
        count = counts.setdefault(item.entry, [0, 0, 0])
        count[0] += 1
        count[1] += is_ok
        count[2] += not is_ok and run_id in failed_ids
    return [
        EntryState(entry=entry, evaluations=total, ok=ok, failed=failed)
        for entry, (total, ok, failed) in sorted(counts.items())
    ]
