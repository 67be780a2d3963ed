"""The Ray of a local sweep: started again when it dies, and closed to everybody else."""

import os
import signal
import threading
from collections.abc import Callable, Sequence
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
    "gcs_server": "/gcs/gcs_server",
    "agent": "ray::DashboardAgent",
    "runtime_env_agent": "ray::RuntimeEnvAgent",
    "raylet": "/raylet/raylet",
}
"""How the first word of their command lines ends; the raylet's names the agents further on."""


def processes(part: str) -> list[psutil.Process]:
    """The processes of the Ray that this process has started, of one part."""
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            if " ".join(child.cmdline()[:1]).strip().endswith(PARTS[part]):
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


def kill(part: str) -> None:
    newest = max(processes(part), key=lambda process: process.create_time())
    os.kill(newest.pid, signal.SIGKILL)


def whenever(
    ready: Callable[[], Any], acts: Sequence[Callable[[], Any]]
) -> AbstractContextManager[None]:
    """Act in the background, one after another, each as soon as something is ready."""

    def watch(stop: threading.Event) -> None:
        for act in acts:
            while not ready():
                if stop.wait(0.1):
                    return
            act()

    return in_background(watch)


def restarts(listener: Listening) -> list[str]:
    return [note for note in listener.notes if "died and was started again" in note]


def test_a_local_ray_that_dies_is_started_again_and_the_sweep_is_finished(tmp_path: Path) -> None:
    listener, sweep = Listening(), sweep_of(12, resources=CPU)
    with connect(local=True) as cluster:
        options = {"seconds": 0.6}
        executor = RayExecutor(cluster, CPU, evaluator=CRASHING, options=options)
        with whenever(executor.process_ids, [lambda: kill("raylet")]):
            summary = run_sweep(sweep, Store(tmp_path), executor, LaunchOptions(), listener)
    assert (summary.ok, summary.failed) == (12, 0)
    assert ok_run_ids(Store(tmp_path)) == run_ids(sweep)
    (said,) = restarts(listener)
    assert "(1 of 3)" in said


def test_whatever_part_of_it_dies_the_sweep_goes_on_until_the_fourth_death_ends_it(
    tmp_path: Path,
) -> None:
    listener, sweep = Listening(), sweep_of(1000, resources=CPU)
    deaths: list[str] = []
    rows: dict[int, int] = {}
    """How many there were when it had been started again so many times."""

    def goes_on() -> bool:
        """After the latest death, too: started again, and through with one more evaluation."""
        times = len(restarts(listener))
        if times < len(deaths) or not executor.process_ids():
            return False
        return len(listener.rows) > rows.setdefault(times, len(listener.rows))

    def kill_next() -> None:
        deaths.append(list(PARTS)[len(deaths)])
        kill(deaths[-1])

    with connect(local=True) as cluster:
        options = {"seconds": 0.6}
        executor = RayExecutor(cluster, CPU, evaluator=CRASHING, options=options)
        with (
            whenever(goes_on, [kill_next] * len(PARTS)),
            pytest.raises(ClusterError, match=r"Ray on this machine has died 4 times: raylet"),
        ):
            run_sweep(sweep, Store(tmp_path), executor, LaunchOptions(), listener)
    assert deaths == list(PARTS)
    ended_ok = sorted(row["run_id"] for row in listener.rows if row["status"] == "ok")
    assert ok_run_ids(Store(tmp_path)) == ended_ok, "through all deaths: none lost, none twice"
    assert len(restarts(listener)) == 3
    for number, said in enumerate(restarts(listener), start=1):
        assert f"({number} of 3)" in said
        assert "ended with" in said
        assert len(said) < 1000, "no dump of a raylet"


HOSTILE = {
    "RAY_USE_TLS": "1",
    "RAY_RUNTIME_ENV_HOOK": "no.such.module",
    "RAY_AUTH_TOKEN_PATH": "/nowhere/token",
}


def test_it_starts_whatever_is_set_for_other_clusters_and_listens_on_the_loopback_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in HOSTILE.items():
        monkeypatch.setenv(name, value)
    with connect(local=True) as cluster:
        assert cluster.nodes()
        family = [psutil.Process(), *psutil.Process().children(recursive=True)]
        listening = {
            connection.laddr.ip
            for process in family
            for connection in process.net_connections(kind="inet")
            if connection.status == psutil.CONN_LISTEN
        }
    assert listening
    assert listening <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
