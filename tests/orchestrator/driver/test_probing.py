"""Trying evaluations before a sweep: in this process and on real Ray."""

import json
import time
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from orchestrator.cli import sweep as command
from orchestrator.driver.probing import EVALUATOR, LOSSES, try_out
from orchestrator.executors.inline import InlineExecutor
from orchestrator.executors.ray_executor import RayExecutor
from orchestrator.sweep import Resources
from tests.support.ray_clusters import cluster_of
from tests.support.sweeps import GRID, spec

CRASHING = "tests.support.crashing_evaluator:CrashingEvaluator"


@pytest.fixture
def grid_file(tmp_path: Path) -> str:
    path = tmp_path / "grid.yaml"
    path.write_text(yaml.safe_dump(GRID))
    return str(path)


def test_the_command_tells_the_time_by_the_wall_and_writes_nothing(
    tmp_path: Path, grid_file: str
) -> None:
    store = tmp_path / "none"
    asked = ["plan", "--grid", grid_file, "--store", str(store), "--probe", "--inline"]
    done = CliRunner().invoke(command, [*asked, "--json"])
    assert done.exit_code == 0, done.output
    plan = json.loads(done.stdout)
    assert plan["probed"]
    assert plan["estimate"]["time_unknown"] == 0
    expected = plan["overhead_seconds"] + plan["estimate"]["seconds"]
    assert plan["wall_seconds"] == pytest.approx(expected)
    assert "probe 2/2: random:tiny-neox random streaming 4+32" in done.stderr
    assert not store.exists()
    assert "by the wall about" in CliRunner().invoke(command, asked).stdout


def test_inline_without_probe_is_refused(grid_file: str) -> None:
    done = CliRunner().invoke(command, ["plan", "--grid", grid_file, "--inline"])
    assert done.exit_code == 2
    assert "--probe" in done.stderr


def test_what_cannot_be_evaluated_is_found_and_the_rest_is_timed(tmp_path: Path) -> None:
    text = {"dataset": "random", "max_tokens": 60, "measure": ("quality",)}
    good = spec(0, model="random:tiny-neox", window_size=16, **text)
    missing = [spec(0, model=str(tmp_path), window_size=size, **text) for size in (8, 9)]
    told: list[str] = []
    executor = InlineExecutor(evaluator=EVALUATOR, options={"device": "cpu"})
    found = try_out([good, *missing], executor, time.monotonic(), told.append)
    assert [each.spec for each in found.tried] == [good]
    (problem,) = found.problems()
    assert " random streaming 4+8 and 1 more: " in problem
    assert "config.json" in problem
    assert len(told) == 3


def test_an_evaluator_that_dies_is_tried_again_and_then_a_problem() -> None:
    specs = [spec(0), spec(1)]
    told: list[str] = []
    with cluster_of({"num_cpus": 1}) as (_, cluster, _nodes):
        executor = RayExecutor(
            cluster,
            Resources(gpus=0),
            evaluator=CRASHING,
            options={"script": {"1": ["die"]}},
        )
        found = try_out(specs, executor, time.monotonic(), told.append)
    (problem,) = found.problems()
    assert "demo pydoc streaming" in problem
    assert sum("probe" in line for line in told) == 1 + LOSSES
    assert found.tried == [], "that evaluator tells no speed"
