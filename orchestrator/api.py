"""Sweeps from scripts and notebooks: build a grid in code, launch, watch, get a DataFrame.

The same functions that the command line calls; docs/api.md has an example that runs.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any

from orchestrator.driver.loop import LaunchOptions
from orchestrator.grid.load import build_grid, load_grid
from orchestrator.launch import Where, launch_sweep, probe_times
from orchestrator.progress.display import progress_for
from orchestrator.progress.snapshot import Listener, Silent, Snapshot
from orchestrator.reports.plan import Plan, make_plan
from orchestrator.reports.status import Status, read_status
from orchestrator.store.heartbeats import watch_drivers
from orchestrator.store.query import Query, select_rows
from orchestrator.store.store import Store
from orchestrator.sweep import Sweep

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "LaunchOptions",
    "Listener",
    "Plan",
    "Silent",
    "Snapshot",
    "Status",
    "Sweep",
    "Where",
    "build_grid",
    "launch",
    "load_grid",
    "plan",
    "results",
    "status",
    "watch",
]

StoreLike = str | PathLike[str]
Grid = Sweep | Mapping[str, Any] | str
"""An expanded grid, a mapping of the shape of a grid file, or a grid's path or built-in name."""


def launch(
    grid: Grid,
    store: StoreLike = "results",
    *,
    where: Where | None = None,
    options: LaunchOptions | None = None,
    listener: Listener | None = None,
) -> Snapshot:
    """Run what is left of a grid, as `sweep launch` does, and return what became of it.

    listener: told about every state and row; None shows the progress, `Silent()` nothing. A
    failed evaluation is a row and a count, not an exception. Raises `GridError` for a wrong
    grid, `UsageError`, `ResourcesError`, `ClusterError` or `StoreError`, before anything starts
    if it can be known then.
    """
    sweep = _expanded(grid)
    given = (sweep, Store(store), where or Where(), options or LaunchOptions())
    if listener is not None:
        return launch_sweep(*given, listener)
    with closing(progress_for()) as display:
        return launch_sweep(*given, display)


def plan(grid: Grid, store: StoreLike = "results", *, probe: Where | None = None) -> Plan:
    """Return what a launch would do: evaluations, work and estimated time.

    probe: where to try every kind of evaluation for a few seconds first, as `sweep plan --probe`
    does; None takes times from the store's rows. Raises what `launch` raises before it starts.
    """
    sweep = _expanded(grid)
    tries = None if probe is None else partial(probe_times, sweep, where=probe, tell=Silent().note)
    return make_plan(sweep, Store(store), probe=tries)


def results(
    store: StoreLike = "results",
    *,
    where: Sequence[str] = (),
    columns: Sequence[str] = (),
    attempts: bool = False,
) -> "pd.DataFrame":
    """Return the latest `ok` row of every evaluation and kind of machine.

    where: `COLUMN=VALUE` texts, as in `sweep results`. columns: all but the block lists by
    default; name `block_nll` and its like to have them. attempts: every attempt instead.
    """
    chosen = Query(where=where, columns=columns, attempts=attempts)
    return select_rows(Store(store), chosen).to_pandas()


def status(store: StoreLike = "results", grid: Grid | None = None) -> Status:
    """Return who is working on a store, what is in it, and why things failed."""
    return read_status(Store(store), None if grid is None else _expanded(grid))


def watch(store: StoreLike = "results") -> Iterator[list[Snapshot]]:
    """Yield the states of all drivers on a store, about once a second, until none is left."""
    for states in watch_drivers(Store(store)):
        yield [Snapshot.from_json(state) for state in states]


def _expanded(grid: Grid) -> Sweep:
    if isinstance(grid, Sweep):
        return grid
    return load_grid(grid) if isinstance(grid, str) else build_grid(grid)
