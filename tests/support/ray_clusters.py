"""Real Ray clusters of several nodes on this machine, for tests."""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster as TestCluster

from orchestrator.cluster.connection import Cluster, protect_token
from orchestrator.executors.ray_executor import RayExecutor

STORE_BYTES = 80_000_000
LIGHT = {"object_store_memory": STORE_BYTES, "include_log_monitor": False}
"""Of every node: nobody reads here what workers print."""
HEAD = {**LIGHT, "num_cpus": 0, "include_dashboard": False, "no_monitor": True}


@contextlib.contextmanager
def cluster_of(*nodes: dict[str, Any]) -> Iterator[tuple[TestCluster, Cluster, list[Any]]]:
    """Start a head without CPUs and these worker nodes; yield the test's and the driver's view."""
    protect_token()
    # Workers import the evaluators of tests and benchmarks.
    os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
    test_cluster = TestCluster(initialize_head=True, head_node_args=dict(HEAD))
    try:
        workers = [test_cluster.add_node(**{"num_cpus": 0, **LIGHT, **node}) for node in nodes]
        test_cluster.wait_for_nodes()
        ray.init(address=test_cluster.address, log_to_driver=False, logging_level="ERROR")
        yield test_cluster, Cluster(test_cluster.address), workers
    finally:
        ray.shutdown()
        test_cluster.shutdown()


def add_node(test_cluster: TestCluster, **node: Any) -> Any:
    """Add a node, from any thread: without the handlers of signals that only the main one sets."""
    test_cluster._shutdown_at_exit = False
    return test_cluster.add_node(**{**LIGHT, **node})


def node_at_work(executor: RayExecutor, stop: threading.Event) -> str | None:
    """Wait until an evaluator has had work for a moment; return its node, or None if stopped."""
    while not stop.wait(0.1):
        slots = list(executor._evaluators.values())
        at_work = [item.node_id for item in slots if item.node_id and item.run_ids]
        if at_work and not stop.wait(0.5):
            return at_work[0]
    return None
