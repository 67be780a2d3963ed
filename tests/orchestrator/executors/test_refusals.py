"""What an evaluator refuses: a GPU that it cannot use, and code that is not the driver's."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from orchestrator.cluster.connection import Cluster
from orchestrator.driver.loop import LaunchOptions, run_sweep
from orchestrator.errors import ClusterError
from orchestrator.executors import ray_executor
from orchestrator.executors.ray_executor import RayExecutor
from orchestrator.store.store import Store
from orchestrator.sweep import Resources
from tests.support.ray_clusters import cluster_of
from tests.support.sweeps import Listening, sweep_of
from workers.contract.installation import installation

CRASHING = "tests.support.crashing_evaluator:CrashingEvaluator"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """One node, with a GPU that is pretended."""
    with cluster_of({"num_gpus": 1, "num_cpus": 1}) as (_, cluster, _nodes):
        yield cluster


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine whose torch sees no GPU")
def test_a_gpu_that_torch_does_not_see_is_not_replaced_by_the_cpu(
    cluster: Cluster, tmp_path: Path
) -> None:
    resources, listener = Resources(gpus=1), Listening()
    executor = RayExecutor(cluster, resources, options={"device": "auto"})
    sweep = sweep_of(2, resources=resources)
    with pytest.raises(ClusterError) as refused:
        run_sweep(sweep, Store(tmp_path), executor, LaunchOptions(), listener)
    (line,) = str(refused.value).splitlines()
    assert line.startswith("no node is left that can be used: ")
    assert "cannot use its GPU: " in line
    assert "torch" in line or "NVIDIA driver" in line
    assert listener.said("a node is left out")
    assert Store(tmp_path).trials(["run_id"]).num_rows == 0, "nothing was measured on a CPU"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sources": "0123456789ab"}, ["sources 0123456789ab in /elsewhere here", "there"]),
        ({"eval_version": 999}, ["EVAL_VERSION 999 in /elsewhere here", "there"]),
        ({"versions": {"torch": "1.0"}}, ["torch 1.0 here, torch ", "there"]),
    ],
    ids=["sources", "version", "packages"],
)
def test_another_code_than_the_drivers_is_refused_in_a_line_that_names_both(
    changes: dict[str, object],
    words: list[str],
    cluster: Cluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = replace(installation(), folder="/elsewhere", **changes)  # type: ignore[arg-type]
    monkeypatch.setattr(ray_executor, "installation", lambda: other)
    resources = Resources(gpus=0)
    executor = RayExecutor(cluster, resources, evaluator=CRASHING)
    sweep = sweep_of(2, resources=resources)
    with pytest.raises(ClusterError) as refused:
        run_sweep(sweep, Store(tmp_path), executor, LaunchOptions(), Listening())
    (line,) = str(refused.value).splitlines()
    assert "runs other code than this driver: " in line
    assert [word for word in words if word not in line] == []
    assert Store(tmp_path).trials(["run_id"]).num_rows == 0
