"""Every state in which nothing runs: the driver says which within ten seconds, and goes on."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import ray

from orchestrator.cluster.connection import Cluster
from orchestrator.cluster.placement import Node
from orchestrator.driver.loop import LaunchOptions, run_sweep
from orchestrator.executors.base import Executor
from orchestrator.executors.inline import InlineExecutor
from orchestrator.executors.ray_executor import RayExecutor
from orchestrator.progress.snapshot import Snapshot
from orchestrator.store.heartbeats import read_drivers
from orchestrator.store.store import Store
from orchestrator.sweep import Resources
from tests.support.crashing_evaluator import CrashingEvaluator
from tests.support.ray_clusters import add_node, cluster_of
from tests.support.sweep_process import ROOT
from tests.support.sweeps import Listening, ok_run_ids, run_ids, sweep_of

pytestmark = pytest.mark.slow
CRASHING = "tests.support.crashing_evaluator:CrashingEvaluator"
CPU = Resources(gpus=0)
WITHIN = 10.0


class SlowToStart(CrashingEvaluator):
    """Takes as long as loading a library from a slow disk."""

    def __init__(self, **options: Any) -> None:
        time.sleep(12.0)
        super().__init__(**options)


class Clocked(Listening):
    """Remembers when something was said."""

    def __init__(self) -> None:
        super().__init__()
        self.began = time.monotonic()
        self.moments: list[tuple[float, str]] = []

    def note(self, message: str) -> None:
        super().note(message)
        self.moments.append((time.monotonic() - self.began, message))

    def when(self, words: str) -> float:
        found = [seconds for seconds, message in self.moments if words in message]
        assert found, f"{words!r} was not said: {self.moments}"
        return found[0]


def launch(
    executor: Executor, root: Path | Store, listener: Clocked, count: int = 2, **options: Any
) -> Snapshot:
    store = root if isinstance(root, Store) else Store(root)
    sweep = sweep_of(count, resources=CPU)
    listener.began = time.monotonic()
    summary = run_sweep(sweep, store, executor, LaunchOptions(**options), listener)
    assert ok_run_ids(store) == run_ids(sweep), "and then it went on"
    return summary


@contextmanager
def later(seconds: float, act: Callable[[], object]) -> Iterator[None]:
    timer = threading.Timer(seconds, act)
    timer.start()
    try:
        yield
    finally:
        timer.join()


@pytest.fixture(scope="class")
def kept() -> Iterator[Cluster]:
    """A cluster that keeps its only node."""
    with cluster_of({"num_cpus": 1}) as (_, cluster, _nodes):
        yield cluster


class TestANodeThatIsNotFree:
    def test_evaluators_that_take_long_to_start(self, kept: Cluster, tmp_path: Path) -> None:
        listener = Clocked()
        slow = "tests.orchestrator.executors.test_nothing_runs:SlowToStart"
        launch(RayExecutor(kept, CPU, evaluator=slow), tmp_path, listener)
        assert listener.when("nothing runs: 1 evaluator is starting, since") < WITHIN

    def test_other_work_that_holds_the_cluster(self, kept: Cluster, tmp_path: Path) -> None:
        listener = Clocked()

        @ray.remote(num_cpus=1)
        class Holder:
            def ready(self) -> bool:
                return True

        holder = Holder.remote()  # type: ignore[attr-defined]
        assert ray.get(holder.ready.remote())
        with later(13.0, lambda: ray.kill(holder)):
            launch(RayExecutor(kept, CPU, evaluator=CRASHING), tmp_path, listener)
        assert listener.when("nothing runs: other work holds the cluster's CPUs") < WITHIN


def test_a_cluster_that_has_lost_its_only_node(tmp_path: Path) -> None:
    listener, lost = Clocked(), []
    with cluster_of({"num_cpus": 1}) as (test_cluster, cluster, workers):
        executor = RayExecutor(cluster, CPU, evaluator=CRASHING, options={"seconds": 1.0})

        def lose_and_bring_back() -> None:
            while not executor.process_ids():
                time.sleep(0.1)
            time.sleep(1.0)
            test_cluster.remove_node(workers[0], allow_graceful=False)
            lost.append(time.monotonic() - listener.began)
            time.sleep(30.0)
            add_node(test_cluster, num_cpus=1)

        with later(0.0, lose_and_bring_back):
            launch(executor, tmp_path, listener, count=14)
    # A worker outlives its node by a few seconds, and until then something runs.
    assert 0 < listener.when("nothing runs: the cluster has lost its nodes") - lost[0] < 25


class Autoscaled(Cluster):
    """A cluster that could start one more node of a CPU."""

    def node_types(self) -> list[Node]:
        return [Node(None, 1, 0)]


def test_a_cluster_that_is_starting_its_nodes(tmp_path: Path) -> None:
    listener = Clocked()
    with cluster_of() as (test_cluster, cluster, _nodes):
        executor = RayExecutor(Autoscaled(cluster.address), CPU, evaluator=CRASHING)
        with later(13.0, lambda: add_node(test_cluster, num_cpus=1)):
            launch(executor, tmp_path, listener)
    assert listener.when("nothing runs: the cluster is starting nodes") < WITHIN


def test_evaluations_that_wait_for_their_next_attempt(tmp_path: Path) -> None:
    listener = Clocked()
    executor = InlineExecutor(evaluator=CRASHING, options={"script": {"1": ["error"]}})
    launch(executor, tmp_path, listener, first_delay=12.0)
    assert listener.when("nothing runs: what is left waits for its next attempt") < WITHIN


OTHER = """
import sys
from orchestrator.driver.loop import LaunchOptions, run_sweep
from orchestrator.executors.inline import InlineExecutor
from orchestrator.progress.snapshot import Silent
from orchestrator.store.heartbeats import read_drivers
from orchestrator.store.store import Store
from orchestrator.sweep import Resources
from tests.support.sweeps import sweep_of
executor = InlineExecutor(evaluator=%r, options={"seconds": 14.0})
sweep = sweep_of(1, resources=Resources(gpus=0))
run_sweep(sweep, Store(sys.argv[1]), executor, LaunchOptions(), Silent())
"""


@pytest.mark.parametrize("name", ["0", "zz"])
def test_other_drivers_that_hold_what_is_left(name: str, tmp_path: Path) -> None:
    """Whichever of the two the evaluation falls to: the one or the other is first by name."""
    listener = Clocked()
    store = Store(tmp_path)
    store.writer = f"{name}-{store.writer}"
    other = subprocess.Popen([sys.executable, "-c", OTHER % CRASHING, str(tmp_path)], cwd=ROOT)
    try:
        while not any(state["in_flight"] for state in read_drivers(store.storage).values()):
            assert other.poll() is None
            time.sleep(0.1)
        summary = launch(InlineExecutor(evaluator=CRASHING), store, listener, count=1)
    finally:
        other.wait(60)
    assert listener.when("nothing runs: other drivers hold what is left") < WITHIN
    assert summary.done_elsewhere == 1
