"""Every way to lose nodes, on CPUs and on GPUs: the sweep goes on with what is left or comes.

Pulling a cable needs machines with networks of their own: `cluster/test_ray_up.py`.
"""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray._raylet import GcsClient
from ray.core.generated import autoscaler_pb2

from orchestrator.cluster.connection import Cluster
from orchestrator.driver.loop import LaunchOptions, run_sweep
from orchestrator.executors.ray_executor import RayExecutor
from orchestrator.store.store import Store
from orchestrator.sweep import Resources
from tests.support.background import in_background
from tests.support.ray_clusters import add_node, cluster_of, node_at_work
from tests.support.sweeps import Listening, ok_run_ids, run_ids, sweep_of

pytestmark = pytest.mark.slow
CRASHING = "tests.support.crashing_evaluator:CrashingEvaluator"
LOST = "has lost its nodes"
COUNT = 24
SECONDS = 1.5
"""Of each evaluation."""


class Nodes:
    """The worker nodes of a cluster under test, and what can happen to them."""

    def __init__(
        self,
        cluster: Any,
        workers: list[Any],
        gpus: int,
        executor: RayExecutor,
        listener: Listening,
    ) -> None:
        self.cluster, self.workers, self.gpus = cluster, workers, gpus
        self.executor, self.listener = executor, listener

    def terminate(self, node_id: str) -> None:
        self._signal(node_id, signal.SIGTERM)

    def kill(self, node_id: str) -> None:
        self._signal(node_id, signal.SIGKILL)

    def drain(self, node_id: str) -> None:
        """Announce that a node goes, as an autoscaler does before the machine is taken away."""
        reason = autoscaler_pb2.DrainNodeReason.DRAIN_NODE_REASON_PREEMPTION
        deadline = int((time.time() + 3.0) * 1000)
        client = GcsClient(address=self.cluster.address)
        accepted, why = client.drain_node(node_id, reason, "spot", deadline)
        assert accepted, why
        time.sleep(3.0)
        self._signal(node_id, signal.SIGKILL)

    def kill_all(self, _node_id: str) -> None:
        """All at once; a new one comes up once that was said, as an autoscaler would bring it."""
        for worker in self.workers:
            self._signal(worker.node_id, signal.SIGKILL)
        end = time.monotonic() + 60.0
        while not self.listener.said(LOST) and time.monotonic() < end:
            time.sleep(0.5)
        self.add()

    def kill_and_bring_back(self, node_id: str) -> None:
        self.kill(node_id)
        time.sleep(2.0)
        self.add()

    def add(self) -> None:
        self.workers.append(add_node(self.cluster, num_cpus=1, num_gpus=self.gpus))

    def _signal(self, node_id: str, number: int) -> None:
        (worker,) = (worker for worker in self.workers if worker.node_id == node_id)
        os.kill(worker.all_processes["raylet"][0].process.pid, number)
        if number == signal.SIGKILL:  # a machine: its workers would outlive their raylet for long
            for item in list(self.executor._evaluators.values()):
                if item.node_id == node_id and item.process_id:
                    os.kill(item.process_id, signal.SIGKILL)


@pytest.fixture(scope="module", params=[0, 1], ids=["cpu", "gpu"])
def started(request: pytest.FixtureRequest) -> Iterator[tuple[Any, Cluster, int]]:
    """A head, and how many GPUs each of its nodes will have."""
    with cluster_of() as (test_cluster, cluster, _workers):
        yield test_cluster, cluster, request.param


@pytest.fixture
def workers(started: tuple[Any, Cluster, int]) -> list[Any]:
    """Three nodes: what the test before has left, once the others are missed, and new ones."""
    test_cluster, _, gpus = started
    found, gone = [], set()
    for worker in test_cluster.worker_nodes:
        ended = worker.all_processes["raylet"][0].process.poll() is not None
        if ended:
            gone.add(worker.node_id)
        else:
            found.append(worker)
    end = time.monotonic() + 60.0
    while gone & {node["NodeID"] for node in ray.nodes() if node["Alive"]}:
        assert time.monotonic() < end, "the cluster does not miss a node that is gone"
        time.sleep(0.5)
    while len(found) < 3:
        found.append(add_node(test_cluster, num_cpus=1, num_gpus=gpus))
    return found


@pytest.mark.parametrize("loss", ["terminate", "kill", "drain", "kill_all", "kill_and_bring_back"])
def test_whatever_is_lost_every_evaluation_ends_ok_and_once(
    started: tuple[Any, Cluster, int], workers: list[Any], loss: str, tmp_path: Path
) -> None:
    test_cluster, cluster, gpus = started
    resources, listener = Resources(gpus=gpus), Listening()
    sweep = sweep_of(COUNT, resources=resources)
    executor = RayExecutor(cluster, resources, evaluator=CRASHING, options={"seconds": SECONDS})
    nodes = Nodes(test_cluster, workers, gpus, executor, listener)

    def lose(stop: threading.Event) -> None:
        if node_id := node_at_work(executor, stop):
            getattr(nodes, loss)(node_id)

    with in_background(lose):
        summary = run_sweep(sweep, Store(tmp_path), executor, LaunchOptions(), listener)
    new = workers[-1].node_id if len(workers) > 3 else None
    assert (summary.ok, summary.failed) == (COUNT, 0)
    assert ok_run_ids(Store(tmp_path)) == run_ids(sweep)
    rows = Store(tmp_path).trials(["status", "error_kind", "node_id"]).to_pylist()
    lost = Counter(row["error_kind"] for row in rows if row["status"] == "failed")
    assert set(lost) <= {"node_lost"}, "the machine is what was lost, whatever the signal"
    assert lost.total() == summary.attempts - COUNT
    if loss.startswith("kill"):
        assert lost.total() >= 1
    if loss == "kill_all":
        assert listener.said(LOST), listener.notes
        assert new in {row["node_id"] for row in rows}
