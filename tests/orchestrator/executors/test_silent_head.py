"""The head of a cluster stops answering, as one that is cut off does: for a while, or for good.

Ray keeps whoever asks a silent head anything for a minute and then ends the process without a word
to it, so a driver that runs beside one must not ask.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.driver.loop import LaunchOptions, run_sweep
from orchestrator.errors import ClusterError
from orchestrator.executors.ray_executor import RayExecutor
from orchestrator.store.store import Store
from orchestrator.sweep import Resources
from tests.support.background import in_background
from tests.support.ray_clusters import cluster_of, node_at_work
from tests.support.sweep_process import ROOT, Driver
from tests.support.sweeps import Listening, ok_run_ids, sweep_of

pytestmark = pytest.mark.slow
CRASHING = "tests.support.crashing_evaluator:CrashingEvaluator"
NODE = {"num_cpus": 1}


@contextlib.contextmanager
def silenced(executor: RayExecutor, gcs: int, until: threading.Event) -> Iterator[None]:
    """Stop the head once an evaluator is at work, and let it go on after the event."""

    def silence(stop: threading.Event) -> None:
        if node_at_work(executor, stop):
            os.kill(gcs, signal.SIGSTOP)
            until.wait(30.0)
            os.kill(gcs, signal.SIGCONT)

    try:
        with in_background(silence):
            yield
    finally:
        until.set()


def head_of(cluster: Any) -> int:
    (process,) = cluster.head_node.all_processes["gcs_server"]
    return int(process.process.pid)


class Waiting(Listening):
    """Sets an event when an evaluation has ended after it was said that the head is silent."""

    def __init__(self, event: threading.Event) -> None:
        super().__init__()
        self.event = event

    def row(self, row: Mapping[str, Any]) -> None:
        super().row(row)
        if self.said("does not answer"):
            self.event.set()


def test_what_runs_goes_on_while_the_head_is_silent(tmp_path: Path) -> None:
    sweep, heard = sweep_of(16), threading.Event()
    listener = Waiting(heard)
    with cluster_of(NODE, NODE) as (test_cluster, cluster, _):
        executor = RayExecutor(cluster, Resources(), evaluator=CRASHING, options={"seconds": 1.0})
        with silenced(executor, head_of(test_cluster), heard):
            summary = run_sweep(sweep, Store(tmp_path), executor, LaunchOptions(), listener)
    assert heard.is_set(), "an evaluation ended while the head was silent"
    assert (summary.ok, summary.failed, summary.attempts) == (16, 0, 16)
    assert listener.said("the cluster's head answers again")


def test_a_head_that_stays_silent_ends_the_sweep_with_all_that_is_done_kept(
    tmp_path: Path,
) -> None:
    sweep, ended, listener = sweep_of(60), threading.Event(), Listening()
    with cluster_of(NODE) as (test_cluster, cluster, _):
        executor = RayExecutor(
            cluster,
            Resources(),
            evaluator=CRASHING,
            options={"seconds": 0.5},
            silent_seconds=4.0,
        )
        began = time.monotonic()
        with (
            silenced(executor, head_of(test_cluster), ended),
            pytest.raises(ClusterError, match="has not answered for 4 s: what is done is in"),
        ):
            run_sweep(sweep, Store(tmp_path), executor, LaunchOptions(), listener)
        ended.set()
        assert time.monotonic() - began < 60.0, "Ray would have ended this process"
    told = sorted(row["run_id"] for row in listener.rows)
    assert 0 < len(told) < len(sweep.evaluations)
    assert ok_run_ids(Store(tmp_path)) == told


HEAD = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={
    "num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False})
print(cluster.address, flush=True)
sys.stdin.readline()
cluster.head_node.kill_gcs_server()
print("killed", flush=True)
sys.stdin.readline()
cluster.head_node.start_gcs_server()
print("started", flush=True)
sys.stdin.readline()
"""


def test_a_head_that_was_started_again_is_another_cluster(tmp_path: Path) -> None:
    """Ray would abort the driver that asks it for anything."""
    with subprocess.Popen(
        [sys.executable, "-c", HEAD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as head:
        assert head.stdin is not None
        assert head.stdout is not None
        address = head.stdout.readline().strip()
        driver = Driver(tmp_path / "store", 200, on_ray=address, seconds=0.5)
        driver.until_rows(2)
        for done in ("killed", "started"):
            head.stdin.write("next\n")
            head.stdin.flush()
            assert head.stdout.readline().strip() == done
            time.sleep(3.0)
        assert "was started again and knows nothing of this launch" in driver.fails()
        head.communicate("end\n")
