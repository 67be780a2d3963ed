"""How long it takes to look at a store of a million rows, each with 64 blocks.

    python -m benchmarks.orchestration_store --rows 1000000 --folder FOLDER

Writes the store if the folder is empty (as a sweep leaves it: compacted files and the parts of
the last minutes), then measures, each in a process of its own: finding what is left of a sweep,
reading what `sweep status` needs, and loading what the analysis needs.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from orchestrator.reports.status import read_status
from orchestrator.store.remaining import find_remaining
from orchestrator.store.store import Store
from orchestrator.sweep import PlannedEvaluation, Resources, Sweep
from workers.contract.rows import TRIALS, complete, spec_columns
from workers.contract.spec import EvalSpec

BLOCKS = 64
ROWS_PER_FILE = 32_000
SMALL_FILES = 200
ROWS_PER_SMALL_FILE = 100


def write(folder: Path, rows: int) -> None:
    """Write a store of that many rows."""
    store = Store(folder)
    few = min(rows, SMALL_FILES * ROWS_PER_SMALL_FILE)
    starts = [*range(0, rows - few, ROWS_PER_FILE), *range(rows - few, rows, ROWS_PER_SMALL_FILE)]
    for start, stop in zip(starts, [*starts[1:], rows], strict=True):
        store.write_part("trials", _table(start, stop))


def _table(start: int, stop: int) -> pa.Table:
    """Return rows that differ as those of a sweep do: in identity, numbers and times."""
    count = stop - start
    known = {"status": "ok", "source": "measured", "attempt": 1}
    row = dict(complete({**spec_columns(_spec(0)), **known}))
    row |= {"device_name": "NVIDIA H200", "torch_version": "2.13.0", "eval_version": 1}
    columns = {
        name: pa.array([row[name]] * count, TRIALS.field(name).type) for name in TRIALS.names
    }
    random = np.random.default_rng(start)
    seeds = range(start, stop)
    columns |= {
        "row_id": pa.array([random.bytes(16).hex() for _ in seeds]),
        "run_id": pa.array([_spec(seed).run_id for seed in seeds]),
        "seed": pa.array(seeds, pa.int64()),
        "finished_at": times(start, count),
        "started_at": times(start, count),
    }
    for name in TRIALS.names:
        if TRIALS.field(name).type == pa.float64():
            columns[name] = pa.array(random.random(count))
    return pa.table(columns | block_columns(random, count), schema=TRIALS)


def _spec(seed: int) -> EvalSpec:
    return EvalSpec(model="demo", dataset="pydoc", method="streaming", seed=seed)


def times(start: int, count: int) -> Any:
    """Return one time a second, as many as that."""
    first = datetime(2026, 1, 1, tzinfo=timezone.utc)
    times = [first + timedelta(seconds=start + number) for number in range(count)]
    return pa.array(times, TRIALS.field("finished_at").type)


def block_columns(random: np.random.Generator, count: int) -> dict[str, Any]:
    """Return the block lists of so many rows."""
    offsets: Any = pa.array(np.arange(count + 1, dtype=np.int32) * BLOCKS)
    lists: dict[str, Any] = {
        "block_document": np.zeros(count * BLOCKS, np.int32),
        "block_index": np.tile(np.arange(BLOCKS, dtype=np.int32), count),
        "block_tokens": np.full(count * BLOCKS, 256, np.int32),
        "block_nll": random.random(count * BLOCKS) * 700,
    }
    made: dict[str, Any] = {
        name: pa.ListArray.from_arrays(offsets, pa.array(values)) for name, values in lists.items()
    }
    return {**made, "block_size": pa.array([256] * count, pa.int64())}


def find_what_is_left(folder: Path, rows: int) -> int:
    """Do what a resumed launch of 10,000 evaluations does before its first; 100 are missing."""
    return _find(folder, rows - 9_900, rows + 100)


def find_what_is_left_of_all(folder: Path, rows: int) -> int:
    """The same for a sweep of all rows and a hundredth more, which is missing."""
    return _find(folder, 0, rows + rows // 100)


def _find(folder: Path, first: int, last: int) -> int:
    specs = [_spec(seed) for seed in range(first, last)]
    hashing = time.perf_counter()
    planned = tuple(PlannedEvaluation(spec, 0, 0) for spec in specs if spec.run_id)
    print(json.dumps({"hashing_specs_seconds": round(time.perf_counter() - hashing, 2)}))
    began = _now()
    left = find_remaining(Sweep("all", Resources(), planned, 0), Store(folder))
    _told(began)
    return len(left.todo)


def status(folder: Path, rows: int) -> int:
    """Read what `sweep status` shows."""
    began = _now()
    found = read_status(Store(folder))
    _told(began)
    return sum(sweep.ok for sweep in found.sweeps)


def analysis(folder: Path, rows: int) -> int:
    """Read what the figures are drawn from."""
    from analysis.rows.frames import COLUMNS  # pandas takes a second to import

    began = _now()
    table = Store(folder).results(list(COLUMNS))
    _told(began)
    return table.num_rows


def analysis_frame(folder: Path, rows: int) -> int:
    """The same, and pair every row with its baseline in a pandas frame."""
    from analysis.rows.frames import load

    began = _now()
    frame = load(Store(folder))
    _told(began)
    return len(frame)


def every_scalar(folder: Path, rows: int) -> int:
    """Load every column but the block lists."""
    began = _now()
    table = Store(folder).results()
    _told(began)
    return table.num_rows


def _told(began: tuple[float, float]) -> None:
    """Print wall time, and processor time, which other work on the machine does not lengthen."""
    wall, processor = (now - then for now, then in zip(_now(), began, strict=True))
    print(json.dumps({"seconds": round(wall, 2), "processor_seconds": round(processor, 2)}))


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


TASKS = {
    task.__name__: task
    for task in (
        find_what_is_left,
        find_what_is_left_of_all,
        status,
        analysis,
        analysis_frame,
        every_scalar,
    )
}


def main() -> None:
    """Parse the arguments; run one task here, or each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--task", choices=sorted(TASKS))
    arguments = parser.parse_args()
    if arguments.task:
        print(json.dumps({"found": TASKS[arguments.task](arguments.folder, arguments.rows)}))
        return
    if not (arguments.folder / "trials").exists():
        write(arguments.folder, arguments.rows)
    for task in TASKS:
        command = [sys.executable, "-m", "benchmarks.orchestration_store", "--task", task]
        command += ["--rows", str(arguments.rows), "--folder", str(arguments.folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        print(task, *done.stdout.splitlines(), f"load average {os.getloadavg()[0]:.1f}", flush=True)


if __name__ == "__main__":
    main()
