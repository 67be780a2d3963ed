"""Kill the driver at random moments, relaunch it each time, and count what the store holds.

    python -m benchmarks.orchestration_faults --kills 20

A sweep of 200 evaluations on a local Ray; the moments are seeded. After each kill the processes
of the dead local cluster must be gone within 30 s, and no row that was committed may be missing.
"""

import argparse
import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from orchestrator.store.store import Store
from tests.support.sweep_process import Driver
from tests.support.sweeps import ok_run_ids, run_ids, sweep_of

COUNT = 200
SECONDS_EACH = 0.3


def measure(kills: int, seed: int) -> dict[str, Any]:
    """Kill, relaunch, and at last let the sweep end."""
    chance = random.Random(seed)
    gone: list[float] = []
    committed: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(kills):
            driver = Driver(folder, COUNT, on_ray=True, seconds=SECONDS_EACH)
            _wait(driver, min(COUNT, (committed or [0])[-1] + 1), chance.random() * 4)
            driver.kill()
            gone.append(_seconds_until_gone(driver))
            committed.append(_rows(folder, committed))
            print(number + 1, committed[-1], f"{gone[-1]:.1f} s", flush=True)
        summary = Driver(folder, COUNT, on_ray=True).wait()
        store = Store(folder)
        assert ok_run_ids(store) == run_ids(sweep_of(COUNT))
        rows = store.trials(["run_id"]).num_rows
    return {
        "kills": kills,
        "seed": seed,
        "evaluations": COUNT,
        "ok_in_the_end": COUNT,
        "rows_in_the_end": rows,
        "last_launch_found_done": summary["done_before"],
        "longest_seconds_until_no_process_is_left": round(max(gone), 1),
    }


def _wait(driver: Driver, rows: int, seconds: float) -> None:
    """Let the driver work for a while; kills hit start-up, work and commits alike."""
    if seconds < 3.5:  # else: killed while it starts
        driver.until_rows(rows)
    time.sleep(seconds)


def _seconds_until_gone(driver: Driver) -> float:
    began = time.monotonic()
    assert driver.gone_within(30), f"left after 30 s: {driver.describe_left_behind()}"
    return time.monotonic() - began


def _rows(folder: str, committed: list[int]) -> int:
    store = Store(Path(folder))
    rows = store.trials(["run_id"]).num_rows
    assert rows >= (committed or [0])[-1], "a committed row is missing"
    assert store.damaged == []
    return rows


def main() -> None:
    """Parse the arguments and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.kills, arguments.seed), indent=2))


if __name__ == "__main__":
    main()
