"""The Ray of a local sweep: started again when it dies, and closed to everybody else."""

import os
import signal
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.cluster.connection import connect
from orchestrator.driver.loop import LaunchOptions, run_sweep
from orchestrator.errors import ClusterError
from orchestrator.executors.ray_executor import RayExecutor
from orchestrator.store.store import Store
from orchestrator.sweep import Resources
from tests.support.background import in_background
from tests.support.sweeps import Listening, ok_run_ids, run_ids, sweep_of

pytestmark = pytest.mark.slow
CRASHING = "tests.support.crashing_evaluator:CrashingEvaluator"
CPU = Resources(gpus=0, cpus=1)
PARTS = {
    "raylet": "/raylet/raylet",
    "gcs_server": "/gcs/gcs_server",
    "agent": "/dashboard/agent.py",
    "runtime_env_agent": "/runtime_env/agent/main.py",
}


def processes(part: str) -> list[psutil.Process]:
    """The processes of the Ray that this process has started, of one part."""
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            if any(PARTS[part] in word for word in child.cmdline()):
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


def kill(part: str) -> None:
    (process, *_) = processes(part)
    os.kill(process.pid, signal.SIGKILL)


def as_soon_as(
    ready: Callable[[], Any], act: Callable[[], Any], times: int = 1
) -> AbstractContextManager[None]:
    """Act in the background whenever something is ready."""

    def watch(stop: threading.Event) -> None:
        for _ in range(times):
            while not ready():
                if stop.wait(0.1):
                    return
            act()

    return in_background(watch)


@pytest.mark.parametrize("part", PARTS)
def test_a_local_ray_that_dies_is_started_again_and_the_sweep_goes_on(
    part: str, tmp_path: Path
) -> None:
    listener, sweep = Listening(), sweep_of(12, resources=CPU)
    with connect(local=True) as cluster:
        options = {"seconds": 0.6}
        executor = RayExecutor(cluster, CPU, evaluator=CRASHING, options=options)
        with as_soon_as(executor.process_ids, lambda: kill(part)):
            summary = run_sweep(sweep, Store(tmp_path), executor, LaunchOptions(), listener)
    assert (summary.ok, summary.failed) == (12, 0)
    assert ok_run_ids(Store(tmp_path)) == run_ids(sweep)
    (said,) = [note for note in listener.notes if "died and was started again (1 of 3)" in note]
    assert "ended with" in said
    assert len(said) < 1000, "no dump of a raylet"


def test_a_local_ray_that_dies_again_and_again_ends_the_sweep_with_the_reason(
    tmp_path: Path,
) -> None:
    listener, sweep = Listening(), sweep_of(50, resources=CPU)
    gone: set[int] = set()

    def new_raylet() -> list[int]:
        if not executor.process_ids():  # one that is only starting cannot be started again
            return []
        return [one.pid for one in processes("raylet") if one.pid not in gone]

    def kill_it() -> None:
        gone.update(pids := new_raylet())
        os.kill(pids[0], signal.SIGKILL)

    with connect(local=True) as cluster:
        options = {"seconds": 5.0}
        executor = RayExecutor(cluster, CPU, evaluator=CRASHING, options=options)
        with (
            as_soon_as(new_raylet, kill_it, times=4),
            pytest.raises(ClusterError, match=r"Ray on this machine has died 4 times: raylet"),
        ):
            run_sweep(sweep, Store(tmp_path), executor, LaunchOptions(), listener)
    assert sum("was started again" in note for note in listener.notes) == 3


def test_it_listens_on_the_loopback_alone() -> None:
    with connect(local=True):
        family = [psutil.Process(), *psutil.Process().children(recursive=True)]
        listening = {
            connection.laddr.ip
            for process in family
            for connection in process.net_connections(kind="inet")
            if connection.status == psutil.CONN_LISTEN
        }
    assert listening
    assert listening <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


HOSTILE = {
    "RAY_USE_TLS": "1",
    "RAY_RUNTIME_ENV_HOOK": "no.such.module",
    "RAY_AUTH_TOKEN_PATH": "/nowhere/token",
}


def test_what_is_set_for_other_clusters_does_not_stop_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in HOSTILE.items():
        monkeypatch.setenv(name, value)
    with connect(local=True) as cluster:
        assert cluster.nodes()
