"""How long figures, table and audit of a million results take, and how much memory.

    python -m benchmarks.million_rows --rows 1000000 --folder FOLDER

Writes the store if the folder is empty: what a team has after years, ten models on eight texts in
two number formats on two devices, each with baselines of twelve budgets, streaming of six numbers
of sinks by twelve windows, and dense, repeated with other seeds. Every row has 64 blocks; a few
were cold starts, disturbed or failed. Then each command runs in a process of its own, as a user
runs it, with the time, the processor time and the peak of its memory.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from benchmarks.orchestration_store import ROWS_PER_FILE, block_columns, times
from orchestrator.store.store import Store
from workers.contract.rows import TRIALS, complete, spec_columns
from workers.contract.spec import EvalSpec

SIZES = ("70m", "160m", "410m", "1b", "1.4b", "2.8b", "7b", "12b", "13b", "30b")
MODELS = tuple(f"lab/model-{size}" for size in SIZES)
TEXTS = ("wikitext-103", "pg19", "pydoc", "stdlib", *(f"file:texts/{n}.txt" for n in "abcd"))
DTYPES = ("float16", "bfloat16")
DEVICES = ("NVIDIA H200", "NVIDIA A100")
WINDOWS = (60, 124, 252, 380, 508, 764, 1020, 1532, 2044, 3068, 4092, 6140)
SINKS = (0, 1, 2, 4, 8, 16)
TOKENS = 65_536
KINDS = (
    ("dense", 0, 0),
    *(("recompute", 0, window + 4) for window in WINDOWS),
    *(("streaming", sinks, window) for window in WINDOWS for sinks in SINKS),
)
"""Method, sinks and window of every row of one sweep over one text."""
COMMANDS = ("plot", "table", "audit")
Numbers = npt.NDArray[Any]


def write(folder: Path, rows: int) -> None:
    """Write a store of that many rows."""
    store = Store(folder)
    for start in range(0, rows, ROWS_PER_FILE):
        store.write_part("trials", _table(start, min(start + ROWS_PER_FILE, rows)))


def _table(start: int, stop: int) -> pa.Table:
    """Return rows of one sweep after the other: a seed of a model, all texts, all caches."""
    random = np.random.default_rng(start)
    count, rest = stop - start, np.arange(start, stop)
    rest, kind = np.divmod(rest, len(KINDS))
    rest, text = np.divmod(rest, len(TEXTS))
    rest, model = np.divmod(rest, len(MODELS))
    rest, dtype = np.divmod(rest, len(DTYPES))
    seed, device = np.divmod(rest, len(DEVICES))
    known = {"status": "ok", "source": "measured", "attempt": 1}
    row: dict[str, Any] = {**complete({**spec_columns(_spec()), **known}), **_ALWAYS}
    columns: dict[str, Any] = {
        name: pa.array([row[name]] * count, TRIALS.field(name).type) for name in TRIALS.names
    }
    columns |= {
        "row_id": pa.array([random.bytes(16).hex() for _ in range(count)]),
        "run_id": pa.array([random.bytes(8).hex() for _ in range(count)]),
        "seed": pa.array(seed),
        "model": _named(MODELS, model),
        "sweep": _named(SIZES, model),
        "dataset": _named(TEXTS, text),
        "dtype": _named(DTYPES, dtype),
        "device_name": _named(DEVICES, device),
        "method": _named([method for method, *_ in KINDS], kind),
        "status": _named(("ok", "failed"), (random.random(count) < 0.001).astype(int)),
        "timing_disturbed": _named((None, "others"), (random.random(count) < 0.002).astype(int)),
        "started_at": times(start, count),
        "finished_at": times(start, count),
    }
    numbers = _measured(random, kind, 40 * text + model)
    columns |= {name: pa.array(values, TRIALS.field(name).type) for name, values in numbers.items()}
    return pa.table(columns | block_columns(random, count), schema=TRIALS)


_ALWAYS = {
    "eval_version": 1,
    "n_documents": 1,
    "n_tokens": TOKENS - 1,
    "max_tokens": TOKENS,
    "interval_method": "passages",
    "latency_full_budget": True,
    "latency_recorded": True,
    "timing_noise": 0.01,
    "device_uuid": "GPU-0",
    "device_shared": False,
    "node_id": "node",
    "num_threads": 8,
    "git_commit": "0" * 40,
    "git_dirty": False,
    "torch_version": "2.13.0",
    "cuda_version": "12.8",
    "parity_max_abs_diff": 1e-6,
    "trained_positions": 8192,
    "beyond_training_length": False,
}


def _measured(random: np.random.Generator, kind: Numbers, place: Numbers) -> dict[str, Numbers]:
    """Return numbers that behave as real ones: the same perplexity for the same evaluation."""
    methods = np.array([method for method, *_ in KINDS])[kind]
    sinks, windows = (np.array([one[at] for one in KINDS])[kind] for at in (1, 2))
    budget = np.where(methods == "dense", TOKENS, sinks + windows)
    worse = np.where(methods == "streaming", np.where(sinks == 0, 3.0, 0.02 / (1 + sinks)), 0.0)
    perplexity = (5 + place / 50) * (1 + 12 / budget + worse)
    speed = np.where(methods == "recompute", budget / 20, 5 + budget / 2000)
    runtime = 256 * speed * random.lognormal(sigma=0.03, size=len(kind))
    is_cold = random.random(len(kind)) < 0.001
    runtime = np.where(is_cold, 20 * runtime, runtime)
    return {
        "n_sink": sinks,
        "window_size": windows,
        "budget": budget,
        "evicted_tokens": np.maximum(TOKENS - budget, 0),
        "compression_ratio": budget / TOKENS,
        "kv_cache_bytes": budget * 4096,
        "perplexity": perplexity,
        "perplexity_low": perplexity * 0.98,
        "perplexity_high": perplexity * 1.02,
        "runtime_ms": runtime,
        "runtime_ms_min": runtime * 0.97,
        "runtime_ms_max": runtime * 1.03,
        "prefill_ms": budget / 10 * random.lognormal(sigma=0.03, size=len(kind)),
        **{f"latency_ms_{name}": runtime / 256 for name in ("mean", "p50", "p90", "p99")},
        "peak_memory_bytes": 2**30 + budget * 4096,
        "worker_sequence": np.where(is_cold, 0, 7),
    }


def _spec() -> EvalSpec:
    return EvalSpec(model="lab/model", dataset="pydoc", method="streaming", max_tokens=TOKENS)


def _named(names: Any, chosen: Numbers) -> Any:
    return pa.array(list(names), pa.string()).take(chosen)


def measure(command: str, folder: Path) -> dict[str, Any]:
    """Run one command of `analysis` on the store; return what it took."""
    words = ["-c", "from analysis.cli import main; main()", command, "--store", str(folder)]
    began = time.perf_counter()
    output = subprocess.DEVNULL if command != "plot" else None
    process = subprocess.Popen([sys.executable, *words], stdout=output)
    _, status, used = os.wait4(process.pid, 0)
    return {
        "exit_code": os.waitstatus_to_exitcode(status),
        "seconds": round(time.perf_counter() - began, 1),
        "processor_seconds": round(used.ru_utime + used.ru_stime, 1),
        "peak_mb": round(used.ru_maxrss * _RSS_UNIT / 1e6),
    }


_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


def main() -> None:
    """Parse the arguments; write the store unless it is there, and measure the commands."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--command", choices=COMMANDS, action="append", help="default: all")
    arguments = parser.parse_args()
    if not (arguments.folder / "trials").exists():
        write(arguments.folder, arguments.rows)
    for command in arguments.command or COMMANDS:
        found = measure(command, arguments.folder)
        print(command, json.dumps(found), f"load average {os.getloadavg()[0]:.1f}", flush=True)


if __name__ == "__main__":
    main()
