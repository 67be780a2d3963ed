"""How many evaluations a second the orchestrator gets through, and what it costs.

    python -m benchmarks.orchestration_rate --count 10000
    python -m benchmarks.orchestration_rate --count 200000
    python -m benchmarks.orchestration_rate --count 60 --seconds 1

The real driver, a local Ray and a real store; only the evaluation is empty (or a sleep). Prints
one JSON object: rate, rate of the first and the last tenth, memory of the driver, and with
`--seconds` the share of the wall time that is not evaluation.
"""

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from orchestrator.cluster.connection import connect
from orchestrator.driver.loop import LaunchOptions, run_sweep
from orchestrator.executors.ray_executor import RayExecutor
from orchestrator.progress.snapshot import Snapshot
from orchestrator.store.store import Store
from orchestrator.sweep import PlannedEvaluation, Resources, Sweep
from workers.contract.spec import EvalSpec

NOOP = "benchmarks.noop:NoopEvaluator"


class Clock:
    """A listener that notes when each evaluation ended."""

    def __init__(self) -> None:
        self.ended: list[float] = []

    def update(self, snapshot: Snapshot) -> None:
        """Ignore the state."""

    def row(self, row: Mapping[str, Any]) -> None:
        """Note the time."""
        self.ended.append(time.perf_counter())

    def note(self, message: str) -> None:
        """Ignore a message."""


def noop_sweep(count: int) -> Sweep:
    """Return a sweep of that many evaluations, told apart by their seed."""
    specs = (
        EvalSpec(model="demo", dataset="pydoc", method="streaming", seed=seed)
        for seed in range(count)
    )
    return Sweep("noop", Resources(), tuple(PlannedEvaluation(s, 0, 0) for s in specs), 0)


def measure(count: int, seconds: float, blocks: int) -> dict[str, Any]:
    """Run the sweep and return what was measured."""
    sweep, clock = noop_sweep(count), Clock()
    root = Path(__file__).resolve().parent.parent
    os.environ["PYTHONPATH"] = str(root)  # workers import the no-op
    with tempfile.TemporaryDirectory() as folder, connect(local=True) as cluster:
        store = Store(folder)
        options = {"seconds": seconds, "blocks": blocks}
        executor = RayExecutor(cluster, sweep.resources, evaluator=NOOP, options=options)
        began = time.perf_counter()
        summary = run_sweep(sweep, store, executor, LaunchOptions(), clock)
        wall = time.perf_counter() - began
        found = Store(folder).results(["run_id", "started_at", "finished_at"])
        files = sum(1 for _ in (Path(folder) / "trials").iterdir())
    assert summary.ok == found.num_rows == len(set(found.column("run_id").to_pylist())) == count
    overhead = _overhead(found) if seconds else None
    return {
        "count": count,
        "files": files,
        "overhead_percent": overhead,
        **_rates(clock.ended, wall),
    }


def _rates(ended: list[float], wall: float) -> dict[str, Any]:
    tenth = len(ended) // 10
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "per_second": round((len(ended) - 1) / (ended[-1] - ended[0]), 1),
        "first_tenth_per_second": round(tenth / (ended[tenth] - ended[0]), 1),
        "last_tenth_per_second": round(tenth / (ended[-1] - ended[-1 - tenth]), 1),
        "wall_seconds_with_start": round(wall, 2),
        "driver_peak_megabytes": round(memory),
        "load_average": os.getloadavg()[0],
        "processors": os.cpu_count(),
    }


def _overhead(rows: pa.Table) -> float:
    """Return the share of the time from first start to last end in which no evaluation ran."""
    spans: list[dict[str, Any]] = rows.select(["started_at", "finished_at"]).to_pylist()
    busy: float = sum((row["finished_at"] - row["started_at"]).total_seconds() for row in spans)
    first, last = min(row["started_at"] for row in spans), max(row["finished_at"] for row in spans)
    whole: float = (last - first).total_seconds()
    return round(100 * (1 - busy / whole), 2)


def main() -> None:
    """Parse the arguments and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--blocks", type=int, default=0)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.count, arguments.seconds, arguments.blocks), indent=2))


if __name__ == "__main__":
    main()
