"""What `sweep status`, `watch` and `cancel` say about a store, running or not."""

import functools
import json
import os
import signal
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from orchestrator.cli import sweep as command
from orchestrator.progress.display import plain_line
from orchestrator.progress.snapshot import Running, Snapshot
from orchestrator.reports.status import read_status
from orchestrator.store.heartbeats import (
    boot_id,
    living_drivers,
    process_start,
    request_cancel,
    watch_drivers,
)
from orchestrator.store.store import Store
from tests.support.sweeps import row, spec, sweep_of
from workers.contract.events import Progress

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
PROGRESS = Progress(
    phase="quality",
    documents_done=1,
    documents_total=3,
    tokens_done=2000,
    tokens_total=9000,
    perplexity=12.5,
)
SNAPSHOT = Snapshot(
    sweep="s",
    total=9,
    done_before=2,
    done_elsewhere=0,
    ok=3,
    failed=1,
    skipped=0,
    waiting=2,
    running=(Running(run_id="abc", label="demo pydoc dense", progress=PROGRESS),),
    evaluators=1,
    per_second=0.5,
    seconds_left=6.0,
    seconds=8.0,
)


def ended(seed: int, minute: int = 0, **columns: Any) -> dict[str, Any]:
    given = {"sweep": "s", "finished_at": NOON + timedelta(minutes=minute)} | columns
    return row(seed, **given, row_id=f"row-{seed}-{minute}")


def failed(seed: int, message: str, minute: int = 0, **columns: Any) -> dict[str, Any]:
    given = {"status": "failed", "error_kind": "error", "error_message": message} | columns
    return ended(seed, minute, **given)


def driver(store: Store, writer: str, **changes: Any) -> None:
    """Leave the file of a running driver in the store."""
    state = {
        **SNAPSHOT.to_json(),
        "writer": writer,
        "counter": 1,
        "hostname": "here",
        "pid": 1,
        "boot_id": boot_id(),
        "process_start": process_start(1),
        **changes,
    }
    store.storage.replace("drivers", f"{writer}.json", json.dumps(state).encode())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_an_evaluation_that_is_ok_once_is_no_failure(store: Store) -> None:
    store.append_trials([failed(1, "boom"), ended(1, 1), failed(2, "boom"), failed(2, "bang", 1)])
    (state,) = read_status(store).sweeps
    assert (state.ok, state.failed, state.attempts) == (1, 1, 4)
    (cause,) = read_status(store).causes
    assert (cause.reason, cause.evaluations) == ("bang", 1)


def test_failures_are_grouped_by_cause_the_most_frequent_first(store: Store) -> None:
    store.append_trials(
        [
            failed(1, "rare\nwith details"),
            failed(2, "out of memory at step 1", error_kind="cuda_oom"),
            *(failed(seed, "boom\nTraceback", seed, log_path=f"{seed}.log") for seed in (3, 5, 4)),
        ]
    )
    first, *others = read_status(store).causes
    assert (first.reason, first.evaluations, first.log_path) == ("boom", 3, "5.log")
    assert first.example.startswith(spec(5).run_id)
    assert [(cause.kind, cause.reason) for cause in others] == [
        ("error", "rare"),
        ("cuda_oom", "out of memory at step 1"),
    ]


def test_sweeps_are_counted_apart(store: Store) -> None:
    store.append_trials([ended(1, 5), ended(2, sweep="t"), ended(3, 1, sweep="t")])
    found = {state.sweep: (state.ok, state.attempts) for state in read_status(store).sweeps}
    assert found == {"s": (1, 1), "t": (2, 2)}
    assert read_status(store).sweeps[-1].latest == "2026-01-01T12:05:00+00:00"


def test_entries_of_a_grid_are_counted(store: Store) -> None:
    store.append_trials([ended(0), failed(1, "boom")])
    (entry,) = read_status(store, sweep_of(3)).entries
    assert (entry.evaluations, entry.ok, entry.failed) == (3, 1, 1)


def test_a_store_that_does_not_exist_is_empty_and_stays_so(tmp_path: Path) -> None:
    result = CliRunner().invoke(command, ["status", "--store", str(tmp_path / "none")])
    assert result.exit_code == 0
    assert "no driver is running" in result.output
    assert "no evaluations yet" in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_named_and_survived(store: Store) -> None:
    store.append_trials([ended(1)])
    (Path(store.uri) / "trials" / "part-x-1.parquet").write_bytes(b"PAR1 no PAR1")
    result = CliRunner().invoke(command, ["status", "--store", store.uri])
    assert "damaged: trials/part-x-1.parquet" in result.output
    assert read_status(store).sweeps[0].ok == 1


def test_a_driver_of_this_machine_lives_while_its_process_does(store: Store) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        start = process_start(process.pid)
        driver(store, "alive", pid=process.pid, process_start=start)
        driver(store, "reused", pid=process.pid, process_start="1")
        assert [state["writer"] for state in living_drivers(store)] == ["alive"]
        process.communicate(b"\n")
    assert living_drivers(store) == []


def test_a_driver_elsewhere_lives_while_its_counter_advances(store: Store) -> None:
    driver(store, "silent", boot_id="another")
    driver(store, "beating", boot_id="another")

    def meanwhile(seconds: float) -> None:
        driver(store, "beating", boot_id="another", counter=2)

    assert [state["writer"] for state in living_drivers(store, sleep=meanwhile)] == ["beating"]


def test_a_snapshot_survives_its_way_through_the_store(store: Store) -> None:
    driver(store, "w")
    (state,) = living_drivers(store)
    found = Snapshot.from_json(state)
    assert (found.done, found.total, found.failed, found.seconds_left) == (5, 9, 1, 6.0)
    assert found.running[0].progress == PROGRESS
    assert "s: 5/9 done, 1 running, 1 failed" in plain_line(state)


def test_a_state_of_another_version_does_not_break_the_display() -> None:
    assert "?: 0/0 done" in plain_line({"hostname": "h", "news": 1})


def test_status_shows_drivers_counts_and_causes(store: Store) -> None:
    driver(store, "w")
    store.append_trials([ended(1), failed(2, "boom", log_path="logs/2.log")])
    output = CliRunner().invoke(command, ["status", "--store", store.uri]).output
    assert "driver w on here (pid 1): s: 5/9 done" in output
    assert "failed (error), 1 evaluation: boom" in output
    assert "log: logs/2.log" in output


def test_status_speaks_json(store: Store) -> None:
    store.append_trials([ended(1), failed(2, "boom")])
    found = json.loads(
        CliRunner().invoke(command, ["status", "--store", store.uri, "--json"]).stdout
    )
    assert found["sweeps"][0]["ok"] == 1
    assert found["causes"][0]["reason"] == "boom"
    assert found["drivers"] == []


def test_watching_ends_with_the_last_driver(store: Store) -> None:
    driver(store, "w")
    looks = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 2:
            store.storage.delete("drivers", "w.json")

    seen = [[state["writer"] for state in states] for states in watch_drivers(store, sleep=sleep)]
    assert seen == [["w"], ["w"]]


def test_the_watch_command_says_when_nothing_runs(store: Store) -> None:
    result = CliRunner().invoke(command, ["watch", "--store", store.uri])
    assert result.exit_code == 0
    assert f"no driver is running on {store.uri}" in result.output


def test_cancel_asks_every_running_driver_or_those_of_one_sweep(store: Store) -> None:
    driver(store, "a")
    driver(store, "b", sweep="other")
    driver(store, "gone", process_start="1")
    result = CliRunner().invoke(command, ["cancel", "--store", store.uri, "--sweep", "other"])
    assert result.exit_code == 0, result.output
    assert "asked the driver of other" in result.output
    assert "b.cancel" in store.storage.names("drivers")
    assert "a.cancel" not in store.storage.names("drivers")
    CliRunner().invoke(command, ["cancel", "--store", store.uri])
    asked = [name for name in store.storage.names("drivers") if name.endswith(".cancel")]
    assert sorted(asked) == ["a.cancel", "b.cancel"]


def test_cancelling_nothing_is_said(store: Store) -> None:
    request_cancel(store.storage, "long-gone")
    output = CliRunner().invoke(command, ["cancel", "--store", store.uri]).output
    assert "no driver is running" in output


def test_ctrl_c_stops_watching_and_says_that_the_sweep_goes_on(store: Store) -> None:
    driver(store, "w")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen(
        [sys.executable, "-m", "orchestrator.cli", "watch", "--store", store.uri],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        # A shell's background jobs ignore SIGINT, and hand that down to the tests they run.
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdout is not None
        assert "s: 5/9 done" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        stdout, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "the sweep goes on" in stdout
