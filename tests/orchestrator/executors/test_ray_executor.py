import json
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.experimental.internal_kv import _internal_kv_get, _internal_kv_put

from orchestrator.cluster.connection import Cluster, connect
from orchestrator.driver.loop import LaunchOptions, run_sweep
from orchestrator.errors import ClusterError, ResourcesError
from orchestrator.executors.ray_executor import RayExecutor
from orchestrator.progress.snapshot import Snapshot
from orchestrator.store.store import Store
from orchestrator.sweep import Resources, Sweep
from tests.support.ray_clusters import cluster_of
from tests.support.sweep_process import ROOT
from tests.support.sweeps import Listening, ok_run_ids, run_ids, sweep_of

CRASHING = "tests.support.crashing_evaluator:CrashingEvaluator"


@pytest.fixture(scope="module")
def gpus() -> Iterator[Cluster]:
    """Two nodes with two pretended GPUs each."""
    node = {"num_gpus": 2, "num_cpus": 2, "resources": {"accelerator_type:A100": 1}}
    with cluster_of(node, {**node, "resources": {"accelerator_type:T4": 1}}) as (
        _,
        cluster,
        _nodes,
    ):
        yield cluster


def launch(
    cluster: Cluster,
    sweep: Sweep,
    root: Path,
    options: LaunchOptions | None = None,
    **evaluator: Any,
) -> Snapshot:
    store = Store(root)
    executor = RayExecutor(
        cluster,
        sweep.resources,
        evaluator=CRASHING,
        options=evaluator,
        log_folder=store.log_folder,
    )
    quick = replace(options or LaunchOptions(), first_delay=0.01)
    return run_sweep(sweep, store, executor, quick, Listening())


def rows(root: Path) -> list[dict[str, Any]]:
    return Store(root).trials().to_pylist()


def test_evaluations_run_on_every_gpu_of_the_cluster(gpus: Cluster, tmp_path: Path) -> None:
    summary = launch(gpus, sweep_of(40), tmp_path, seconds=0.2)
    assert ok_run_ids(Store(tmp_path)) == run_ids(sweep_of(40))
    assert len({row["node_id"] for row in rows(tmp_path)}) == 2
    assert summary.notes == ("up to 4 evaluations at a time, each with a GPU to itself",)


def test_fast_evaluations_are_handed_over_in_batches_and_none_is_lost(
    gpus: Cluster, tmp_path: Path
) -> None:
    launch(gpus, sweep_of(1500), tmp_path)
    assert ok_run_ids(Store(tmp_path)) == run_ids(sweep_of(1500))
    assert Store(tmp_path).trials().num_rows == 1500
    assert len(list((tmp_path / "trials").iterdir())) < 100


def test_an_accelerator_pins_the_node(gpus: Cluster, tmp_path: Path) -> None:
    sweep = sweep_of(8, resources=Resources(gpus=1, accelerator="T4"), measure=("quality",))
    summary = launch(gpus, sweep, tmp_path, seconds=0.1)
    assert summary.ok == 8
    assert len({row["node_id"] for row in rows(tmp_path)}) == 1
    assert summary.notes == ("up to 2 evaluations at a time, each with a GPU (T4) to itself",)


def test_on_cpus_one_evaluation_runs_at_a_time_per_node(gpus: Cluster, tmp_path: Path) -> None:
    sweep = sweep_of(4, resources=Resources(gpus=0))
    summary = launch(gpus, sweep, tmp_path, seconds=0.2)
    assert Counter(row["num_threads"] for row in rows(tmp_path)) == {2: 4}
    assert "one evaluation at a time per node, 2 threads each" in summary.notes[0]


def test_a_worker_that_dies_is_replaced_and_its_evaluation_run_again(
    gpus: Cluster, tmp_path: Path
) -> None:
    script = {"1": ["die"], "3": ["die", "die"]}
    summary = launch(gpus, sweep_of(6), tmp_path, script=script, seconds=0.1)
    assert (summary.ok, summary.failed) == (6, 0)
    lost = [row for row in rows(tmp_path) if row["status"] == "failed"]
    assert Counter(row["seed"] for row in lost) == {1: 1, 3: 2}
    assert {row["error_kind"] for row in lost} == {"worker_lost"}
    ok = {row["seed"]: row["attempt"] for row in rows(tmp_path) if row["status"] == "ok"}
    assert ok[3] == 3


def test_an_evaluation_that_always_kills_its_worker_is_given_up(
    gpus: Cluster, tmp_path: Path
) -> None:
    options = LaunchOptions(max_attempts=2, free_losses=1)
    summary = launch(gpus, sweep_of(3), tmp_path, options, script={"1": ["die"] * 99})
    assert (summary.ok, summary.failed) == (2, 1)
    assert summary.failures[0].kind == "worker_lost"
    assert sum(row["status"] == "failed" for row in rows(tmp_path)) == 3


def test_after_a_cuda_error_the_evaluator_is_another_process(gpus: Cluster, tmp_path: Path) -> None:
    resources = Resources(gpus=1, accelerator="T4")
    options = LaunchOptions(max_attempts=1)
    scream = {"scream": "evaluating"}
    script = {"0": ["cuda"], "1": ["cuda"]}
    summary = launch(
        gpus, sweep_of(3, resources=resources), tmp_path, options, script=script, **scream
    )
    assert (summary.ok, summary.failed) == (1, 2)
    assert {failure.kind for failure in summary.failures} == {"device"}


def test_what_an_evaluation_prints_is_found_from_its_row(gpus: Cluster, tmp_path: Path) -> None:
    launch(gpus, sweep_of(3), tmp_path, scream="the seed is")
    for row in rows(tmp_path):
        assert f"the seed is {row['seed']}" in Path(row["log_path"]).read_text()


def test_the_last_words_of_a_worker_that_died_are_found_from_its_row(
    gpus: Cluster, tmp_path: Path
) -> None:
    launch(gpus, sweep_of(1), tmp_path, script={"0": ["die"]}, scream="about to die")
    (lost,) = [row for row in rows(tmp_path) if row["status"] == "failed"]
    assert "about to die" in Path(lost["log_path"]).read_text()


def test_a_failed_row_points_to_a_log_with_its_traceback(gpus: Cluster, tmp_path: Path) -> None:
    summary = launch(
        gpus, sweep_of(1), tmp_path, LaunchOptions(max_attempts=1), script={"0": ["error"]}
    )
    log = summary.failures[0].log_path
    assert log is not None
    assert "ValueError: broken on purpose" in Path(log).read_text()


def test_evaluators_that_do_not_start_end_the_sweep_with_the_reason(
    gpus: Cluster, tmp_path: Path
) -> None:
    executor = RayExecutor(gpus, Resources(), evaluator="no.such.module:Evaluator")
    with pytest.raises(ClusterError, match=r"evaluators do not start: .*No module named 'no'"):
        run_sweep(sweep_of(3), Store(tmp_path), executor, LaunchOptions(), Listening())


@pytest.mark.parametrize(
    "resources",
    [
        Resources(gpus=1, accelerator="H100"),
        Resources(gpus=1, cpus=64),
        Resources(gpus=0, cpus=64),
    ],
)
def test_resources_that_no_node_has_are_refused_before_anything_starts(
    gpus: Cluster, resources: Resources
) -> None:
    with pytest.raises(ResourcesError, match="there are or could be") as refusal:
        RayExecutor(gpus, resources)
    assert refusal.value.exit_code == 2


def test_an_idle_evaluator_is_released(gpus: Cluster) -> None:
    executor = RayExecutor(gpus, Resources(), evaluator=CRASHING, idle_seconds=0.5)
    while not executor.free():
        executor.scale(1)
        executor.wait(0.25)
    began = time.monotonic()
    while executor.free() and time.monotonic() - began < 30:
        executor.scale(1)
        time.sleep(0.1)
    assert executor.free() == []
    executor.close()


def test_rates_and_failures_reach_the_metrics_of_ray(gpus: Cluster, tmp_path: Path) -> None:
    options = LaunchOptions(max_attempts=1)
    launch(gpus, sweep_of(5), tmp_path, options, script={"1": ["error"]})
    ports = {node["MetricsExportPort"] for node in ray.nodes() if node["Alive"]}
    wanted = ('outcome="ok"', 'outcome="ValueError"')
    text = ""
    for _ in range(60):
        text = "".join(_scrape(port) for port in ports)
        if all(part in text for part in wanted):
            break
        time.sleep(1)
    assert "ray_sinksweep_attempts" in text
    assert all(part in text for part in wanted)


def _scrape(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
        return str(page.read().decode())


def test_no_cluster_at_an_address_is_said_in_one_line() -> None:
    with (
        pytest.raises(ClusterError, match="no Ray cluster answers there") as refusal,
        connect(address="127.0.0.1:1"),
    ):
        pass
    assert "\n" not in str(refusal.value)


def test_a_cluster_of_another_version_is_said_in_one_line_with_the_remedy(gpus: Cluster) -> None:
    key, space = b"CLUSTER_METADATA", b"cluster"
    true = _internal_kv_get(key, namespace=space)
    other = {**json.loads(true), "ray_version": "2.1.0", "python_version": "3.7.1"}
    _internal_kv_put(key, json.dumps(other).encode(), overwrite=True, namespace=space)
    code = (
        "import sys; from orchestrator.cluster.connection import connect\n"
        "try:\n    connect(address=sys.argv[1]).__enter__()\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    try:
        command = [sys.executable, "-c", code, gpus.address]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    finally:
        _internal_kv_put(key, true, overwrite=True, namespace=space)
    (line,) = done.stdout.splitlines()
    assert line.startswith("ClusterError --address")
    assert "Ray: 2.1.0" in line
    assert "sweep submit" in line


def test_texts_of_the_driver_are_shipped_to_the_evaluators(gpus: Cluster, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("words of the driver")
    sweep = sweep_of(3, dataset=f"file:{text}")
    launch(gpus, sweep, tmp_path / "store", scream_text=True)
    assert ok_run_ids(Store(tmp_path / "store")) == run_ids(sweep)
    for row in rows(tmp_path / "store"):
        assert row["dataset"] == f"file:{text}"
        assert "words of the driver" in Path(row["log_path"]).read_text()
        assert str(text) not in Path(row["log_path"]).read_text()
