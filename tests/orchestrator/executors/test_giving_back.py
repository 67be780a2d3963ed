"""Whatever ends an evaluator, what it held is run: on real Ray, nothing is forgotten."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cluster.connection import Cluster
from orchestrator.driver.loop import LaunchOptions, run_sweep
from orchestrator.executors.ray_executor import RayExecutor
from orchestrator.progress.snapshot import Snapshot
from orchestrator.store.store import Store
from orchestrator.sweep import PlannedEvaluation, Resources, Sweep
from tests.support.ray_clusters import cluster_of
from tests.support.sweeps import Listening, ok_run_ids, run_ids, spec, sweep_of

CRASHING = "tests.support.crashing_evaluator:CrashingEvaluator"
QUICK = 170
"""Evaluations of no duration at all, so that they are handed over many at once."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """One node with one CPU evaluator at a time."""
    with cluster_of({"num_cpus": 1}) as (_, cluster, _nodes):
        yield cluster


def launch(
    cluster: Cluster, sweep: Sweep, root: Path, options: LaunchOptions, **evaluator: Any
) -> tuple[Any, list[Snapshot]]:
    listener = Listening()
    executor = RayExecutor(cluster, sweep.resources, evaluator=CRASHING, options=evaluator)
    summary = run_sweep(sweep, Store(root), executor, options, listener)
    return summary, listener.snapshots


def accounted(snapshot: Snapshot) -> int:
    ended = snapshot.done_before + snapshot.done_elsewhere + snapshot.ok + snapshot.failed
    return snapshot.waiting + len(snapshot.running) + ended


@pytest.mark.parametrize(
    "script",
    [
        {"60": ["oom"], "61": ["slow"]},
        {"60": ["oom"], "61": ["oom"], "62": ["oom"]},
        {"60": ["cuda", "cuda"], "63": ["slow"]},
        {"60": ["die"], "61": ["slow"]},
        {"60": ["slow"], "61": ["die", "die"], "62": ["error"]},
    ],
    ids=["memory", "memory in a row", "device", "died", "died twice"],
)
def test_a_batch_whose_evaluator_goes_away_is_run_to_its_end(
    cluster: Cluster, tmp_path: Path, script: dict[str, list[str]]
) -> None:
    sweep = sweep_of(QUICK, resources=Resources(gpus=0), measure=("quality",))
    summary, snapshots = launch(cluster, sweep, tmp_path, LaunchOptions(), script=script)
    assert (summary.ok, summary.failed) == (QUICK, 0)
    assert ok_run_ids(Store(tmp_path)) == run_ids(sweep)
    assert {accounted(snapshot) for snapshot in snapshots} == {QUICK}


def test_what_is_cancelled_under_way_is_counted_as_not_run(
    cluster: Cluster, tmp_path: Path
) -> None:
    sweep = sweep_of(QUICK, resources=Resources(gpus=0), measure=("quality",))
    options = LaunchOptions(fail_fast=True, max_attempts=1)
    script = {"60": ["error"], "61": ["slow"]}
    summary, snapshots = launch(cluster, sweep, tmp_path, options, script=script)
    assert summary.ok + summary.failed + summary.not_run == QUICK
    assert summary.failed == 1
    assert {accounted(snapshot) for snapshot in snapshots} == {QUICK}


def test_what_does_not_load_fails_for_itself_alone(cluster: Cluster, tmp_path: Path) -> None:
    """Trusting a model's code, or needing no tokenizer, is another way to load it."""
    model = {"model": "org/model", "measure": ("quality",)}
    specs = [
        *(spec(seed, **model) for seed in range(3)),
        *(spec(seed, **model, trust_remote_code=True) for seed in range(3, 6)),
        *(spec(seed, **model, dataset="random", max_tokens=64) for seed in range(6, 9)),
    ]
    planned = tuple(PlannedEvaluation(one, 0, 0) for one in specs)
    sweep = Sweep("test", Resources(gpus=0), planned, 0)
    script = {str(seed): ["model_load"] * 9 for seed in range(3)}
    summary, _ = launch(cluster, sweep, tmp_path, LaunchOptions(max_attempts=2), script=script)
    assert (summary.ok, summary.failed) == (6, 3)
    ok = {row["seed"] for row in Store(tmp_path).results().to_pylist()}
    assert ok == set(range(3, 9))
