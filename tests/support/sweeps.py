"""Small sweeps for tests of the orchestrator, and what to look at after them."""

from collections.abc import Mapping
from typing import Any

from orchestrator.progress.snapshot import Snapshot
from orchestrator.store.store import Store
from orchestrator.sweep import PlannedEvaluation, Resources, Sweep
from workers.contract.rows import spec_columns
from workers.contract.spec import EvalSpec

GRID: dict[str, Any] = {
    "sweep": "s",
    "defaults": {
        "model": "random:tiny-neox",
        "dataset": "random",
        "max_tokens": 80,
        "measure": ["quality"],
    },
    "grids": [{"method": "streaming", "window_size": [16, 32]}],
}
"""Two evaluations of a moment each, as a grid file holds them."""


def spec(seed: int, **fields: Any) -> EvalSpec:
    """Return a spec; the seed makes it one of many."""
    given: dict[str, Any] = {"model": "demo", "dataset": "pydoc", "method": "streaming"}
    given |= {"seed": seed, **fields}
    return EvalSpec(**given)


def sweep_of(count: int, *, resources: Resources | None = None, **fields: Any) -> Sweep:
    """Return a sweep of that many evaluations, told apart by their seed."""
    planned = tuple(PlannedEvaluation(spec(seed, **fields), 0, 0) for seed in range(count))
    return Sweep("test", resources or Resources(), planned, 0)


def row(seed: int, **columns: Any) -> dict[str, Any]:
    """Return a stored row."""
    identity = {"row_id": f"row-{seed}", "status": "ok", "source": "measured", "attempt": 1}
    return {**spec_columns(spec(seed)), **identity, "perplexity": 1.0 + seed, **columns}


def ok_run_ids(store: Store) -> list[str]:
    """Return the run ids of the store's results, sorted; a result stored twice shows twice."""
    table = store.results(["run_id"])
    assert store.damaged == []
    return sorted(str(run_id) for run_id in table.column("run_id").to_pylist())


def run_ids(sweep: Sweep) -> list[str]:
    """Return the run ids of a sweep, sorted."""
    return sorted(item.spec.run_id for item in sweep.evaluations)


class Listening:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.snapshots: list[Snapshot] = []
        self.rows: list[Mapping[str, Any]] = []
        self.notes: list[str] = []

    def update(self, snapshot: Snapshot) -> None:
        self.snapshots.append(snapshot)

    def row(self, row: Mapping[str, Any]) -> None:
        self.rows.append(row)

    def note(self, message: str) -> None:
        self.notes.append(message)

    def said(self, words: str) -> bool:
        return any(words in note for note in self.notes)
