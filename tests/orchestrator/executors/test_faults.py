"""What becomes of a sweep whose workers and nodes are killed under it."""

import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cluster.connection import Cluster
from orchestrator.driver.loop import LaunchOptions, run_sweep
from orchestrator.executors.ray_executor import RayExecutor
from orchestrator.store.store import Store
from orchestrator.sweep import Resources
from tests.support.background import in_background
from tests.support.ray_clusters import cluster_of, node_at_work
from tests.support.sweeps import Listening, ok_run_ids, run_ids, sweep_of

pytestmark = pytest.mark.slow
CRASHING = "tests.support.crashing_evaluator:CrashingEvaluator"


def meanwhile(action: Any, period: float, times: int) -> AbstractContextManager[None]:
    """Repeat an action in the background."""

    def repeat(stop: threading.Event) -> None:
        for _ in range(times):
            if stop.wait(period):
                return
            action()

    return in_background(repeat)


def launch(executor: RayExecutor, count: int, root: Path) -> Any:
    sweep = sweep_of(count, resources=Resources(gpus=1))
    summary = run_sweep(sweep, Store(root), executor, LaunchOptions(), Listening())
    assert ok_run_ids(Store(root)) == run_ids(sweep)
    return summary


def failures(root: Path) -> Counter[str]:
    rows = Store(root).trials(["status", "error_kind"]).to_pylist()
    return Counter(row["error_kind"] for row in rows if row["status"] == "failed")


@pytest.fixture(scope="class")
def cluster() -> Iterator[Cluster]:
    """One node for two evaluations at a time."""
    with cluster_of({"num_gpus": 2, "num_cpus": 2}) as (_, cluster, _workers):
        yield cluster


class TestWorkers:
    def test_with_one_killed_every_two_seconds_all_evaluations_end_ok(
        self, cluster: Cluster, tmp_path: Path
    ) -> None:
        chance = random.Random(7)
        executor = RayExecutor(
            cluster, Resources(gpus=1), evaluator=CRASHING, options={"seconds": 0.4}
        )

        def kill_one() -> None:
            if pids := executor.process_ids():
                os.kill(chance.choice(pids), signal.SIGKILL)

        with meanwhile(kill_one, 2.0, 8):
            summary = launch(executor, 60, tmp_path)
        assert (summary.ok, summary.failed) == (60, 0)
        lost = failures(tmp_path)
        assert set(lost) == {"worker_lost"}
        assert summary.attempts == 60 + lost.total()

    def test_an_evaluation_continues_after_its_own_with_the_parts_it_had_finished(
        self, cluster: Cluster, tmp_path: Path
    ) -> None:
        options = {"script": {"0": ["die"]}, "spans": 6, "seconds": 9.0}
        executor = RayExecutor(cluster, Resources(gpus=1), evaluator=CRASHING, options=options)
        launch(executor, 1, tmp_path)
        (row,) = Store(tmp_path).results(["n_documents", "attempt"]).to_pylist()
        assert row["attempt"] == 2
        assert row["n_documents"] >= 2


def test_with_whole_nodes_killed_twice_all_evaluations_end_ok(tmp_path: Path) -> None:
    node = {"num_gpus": 1, "num_cpus": 1}
    with cluster_of(node, node, node) as (test_cluster, cluster, workers):
        executor = RayExecutor(
            cluster, Resources(gpus=1), evaluator=CRASHING, options={"seconds": 1.0}
        )

        def lose_two(stop: threading.Event) -> None:
            while len(workers) > 1 and (node_id := node_at_work(executor, stop)):
                for worker in [worker for worker in workers if worker.node_id == node_id]:
                    workers.remove(worker)
                    test_cluster.remove_node(worker, allow_graceful=False)

        with in_background(lose_two):
            summary = launch(executor, 30, tmp_path)
    assert (summary.ok, summary.failed) == (30, 0)
    lost = failures(tmp_path)
    assert set(lost) <= {"node_lost", "worker_lost"}
    assert lost.total() >= 1
    assert summary.attempts == 30 + lost.total()
    nodes = Store(tmp_path).results(["node_id"]).column("node_id").to_pylist()
    assert len(set(nodes)) >= 2
