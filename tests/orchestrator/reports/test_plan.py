"""What a launch would do: counts, work, time and price, from the grid and the store."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli import sweep as command
from orchestrator.grid.load import build_grid
from orchestrator.reports.plan import Plan, make_plan
from orchestrator.store.store import Store
from orchestrator.sweep import Sweep
from workers.attention.visibility import recompute_windows
from workers.contract.cost import Text, decode_forwards, text_from_limits, token_forwards
from workers.contract.rows import complete, spec_columns
from workers.contract.spec import EvalSpec

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
SPEC = EvalSpec(
    model="random:tiny-neox",
    dataset="random",
    method="streaming",
    max_tokens=100,
    n_sink=4,
    window_size=16,
)
GRID = {
    "sweep": "s",
    "defaults": {"model": "random:tiny-neox", "dataset": "random", "max_tokens": 100},
    "grids": [{"method": ["streaming", "recompute"], "window_size": [16, 32]}],
}


def expand(**changes: Any) -> Sweep:
    return build_grid({**GRID, **changes})


def row(spec: EvalSpec, seconds: float = 10.0, **changes: Any) -> dict[str, Any]:
    """A row as an evaluation leaves it, with a number of its own."""
    number = next(NUMBERS)
    started = NOON + timedelta(hours=number)
    return complete(
        {
            **spec_columns(spec),
            "row_id": f"row-{number}",
            "attempt": 1,
            "status": "ok",
            "device_name": "H200",
            "n_documents": 1,
            "n_tokens": spec.max_tokens and spec.max_tokens - 1,
            "started_at": started,
            "finished_at": started + timedelta(seconds=seconds),
            **changes,
        }
    )


def count() -> Iterator[int]:
    number = 0
    while True:
        yield number
        number += 1


NUMBERS = count()


def planned(tmp_path: Path, rows: list[dict[str, Any]], grid: Sweep | None = None) -> Plan:
    store = Store(tmp_path / "store")
    store.append_trials(rows)
    return make_plan(grid or expand(), store)


@given(
    method=st.sampled_from(["dense", "streaming", "recompute"]),
    length=st.integers(2, 400),
    documents=st.integers(1, 3),
    window=st.integers(1, 300),
    stride=st.integers(1, 50),
)
def test_the_work_of_a_quality_pass_is_what_the_row_will_say(
    method: str, length: int, documents: int, window: int, stride: int
) -> None:
    spec = replace(
        SPEC,
        method=method,
        window_size=window,
        measure=["quality"],
        recompute_stride=min(stride, window + 5),
    )
    text = Text(documents, documents * length, is_exact=True)
    queries = max(0, length - 1)
    each = queries
    if method == "recompute" and queries:
        windows = recompute_windows(queries, spec.budget or 0, spec.recompute_stride)
        each = sum(end - first for first, end, _ in windows)
    assert token_forwards(spec, text) == each * documents


def test_decode_steps_are_work_and_recompute_runs_a_window_for_each() -> None:
    spec = replace(SPEC, repeats=2, warmup_tokens=3, decode_tokens=7)
    assert decode_forwards(spec) == 20
    assert decode_forwards(replace(spec, method="recompute")) == 20 * 21
    latency = replace(spec, measure=["latency"])
    assert token_forwards(latency, Text(1, 100, is_exact=True)) == 20 + 99 - 10


def test_a_text_without_limits_has_no_known_work() -> None:
    assert text_from_limits(replace(SPEC, dataset="pg19", max_documents=2)) == Text(
        2, 200, is_exact=False
    )
    assert text_from_limits(replace(SPEC, dataset="pydoc")) == Text(1, 100, is_exact=False)
    assert text_from_limits(replace(SPEC, dataset="stdlib")) is None
    assert text_from_limits(replace(SPEC, dataset="pydoc", max_tokens=None)) is None


def test_a_plan_of_an_empty_store_runs_everything_and_knows_no_time(tmp_path: Path) -> None:
    plan = make_plan(expand(), Store(tmp_path / "none"))
    assert (plan.total, plan.done, plan.failed, plan.estimate.evaluations) == (4, 0, 0, 4)
    assert plan.estimate.seconds is None
    assert plan.cost(2.0) is None
    assert not (tmp_path / "none").exists()


def test_what_is_done_is_not_planned_and_what_failed_is(tmp_path: Path) -> None:
    first, second, third, _ = (item.spec for item in expand().evaluations)
    rows = [
        row(first),
        row(second, status="failed"),
        row(third, status="failed"),
        row(third),
    ]
    plan = planned(tmp_path, rows)
    assert (plan.total, plan.done, plan.failed, plan.estimate.evaluations) == (4, 2, 1, 2)
    assert set(plan.run_ids) == {item.spec.run_id for item in expand().evaluations} - {
        first.run_id,
        third.run_id,
    }


def test_duplicates_of_the_grid_are_counted(tmp_path: Path) -> None:
    grid = expand(grids=[{"method": "streaming", "n_sink": [4, 4]}, {"method": "streaming"}])
    plan = make_plan(grid, Store(tmp_path / "none"))
    assert (plan.total, plan.folded) == (1, 2)


def test_time_is_work_at_the_speed_of_the_same_model_and_method(tmp_path: Path) -> None:
    specs = {(e.spec.method, e.spec.budget): e.spec for e in expand().evaluations}
    known = specs["recompute", 20]
    wanted = specs["recompute", 36]
    exact = Text(1, 100, is_exact=True)
    plan = planned(tmp_path, [row(known, seconds=30.0), row(replace(known, seed=1), seconds=10.0)])
    rate = 40.0 / (2 * token_forwards(known, exact))
    assert plan.estimate.seconds == pytest.approx(rate * token_forwards(wanted, exact))
    assert plan.estimate.time_unknown == 2  # streaming has no history
    assert plan.cost(36.0) == pytest.approx(plan.estimate.seconds / 100)


def test_speeds_are_those_of_the_latest_device(tmp_path: Path) -> None:
    known, wanted = expand().evaluations[0].spec, expand().evaluations[1].spec
    rows = [row(known, seconds=99.0, device_name="A100"), row(known, seconds=1.0)]
    plan = planned(tmp_path, rows)
    exact = Text(1, 100, is_exact=True)
    ratio = token_forwards(wanted, exact) / token_forwards(known, exact)
    assert plan.device == "H200"
    assert plan.estimate.seconds == pytest.approx(1.0 * ratio)
    assert any("A100, H200" in warning for warning in plan.warnings)


def test_the_length_of_a_text_is_known_once_it_was_read(tmp_path: Path) -> None:
    grid = expand(
        defaults={"model": "random:tiny-neox", "dataset": "stdlib", "measure": ["quality"]},
        grids=[{"method": ["dense", "streaming"]}],
    )
    dense, streaming = (item.spec for item in grid.evaluations)
    before = make_plan(grid, Store(tmp_path / "none"))
    assert (before.estimate.work_unknown, before.estimate.token_forwards) == (2, 0)
    plan = planned(tmp_path, [row(dense, n_documents=3, n_tokens=997)], grid)
    assert plan.run_ids == (streaming.run_id,)
    assert plan.estimate.token_forwards == 997
    assert plan.estimate.work_is_exact


def test_a_pinned_accelerator_wants_latencies_from_such_a_device(tmp_path: Path) -> None:
    grid = expand(resources={"gpus": 1, "accelerator": "A100"})
    spec = grid.evaluations[0].spec
    assert planned(tmp_path, [row(spec)], grid).done == 0
    assert planned(tmp_path, [row(spec, device_name="NVIDIA A100-SXM4-80GB")], grid).done == 1


def test_a_mixed_cluster_is_warned_about(tmp_path: Path) -> None:
    store = Store(tmp_path / "none")
    (warning,) = make_plan(expand(), store, accelerators=["A100", "H200", "A100"]).warnings
    assert "A100, H200" in warning
    assert "resources.accelerator" in warning
    assert make_plan(expand(), store, accelerators=["A100"]).warnings == ()
    quality = expand(defaults={**GRID["defaults"], "measure": ["quality"]})
    assert make_plan(quality, store, accelerators=["A100", "H200"]).warnings == ()


@pytest.fixture
def grid_file(tmp_path: Path) -> str:
    (tmp_path / "g.yaml").write_text(json.dumps(GRID))  # JSON is YAML
    return str(tmp_path / "g.yaml")


def test_the_command_shows_counts_work_time_and_price(tmp_path: Path, grid_file: str) -> None:
    store = tmp_path / "store"
    Store(store).append_trials([row(item.spec) for item in expand().evaluations[:1]])
    arguments = ["plan", "--grid", grid_file, "--store", str(store), "--price", "2.5"]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    assert "4 evaluations (0 duplicates folded), 1 done" in result.output
    assert "3 to run" in result.output
    assert "time: unknown for 2 evaluations" in result.output
    assert "cost: at least 0.01 at 2.5 per hour" in result.output


def test_the_command_speaks_json(tmp_path: Path, grid_file: str) -> None:
    arguments = ["plan", "--grid", grid_file, "--store", str(tmp_path / "none"), "--json"]
    found = json.loads(CliRunner().invoke(command, arguments).stdout)
    assert found["total"] == found["estimate"]["evaluations"] == len(found["run_ids"]) == 4
    assert found["estimate"]["seconds"] is None
    assert found["cost"] is None
    assert not (tmp_path / "none").exists()


def test_an_unknown_time_is_said_and_has_no_price(tmp_path: Path, grid_file: str) -> None:
    arguments = ["plan", "--grid", grid_file, "--store", str(tmp_path / "none"), "--price", "1"]
    output = CliRunner().invoke(command, arguments).output
    assert "time: unknown" in output
    assert "cost: unknown" in output


def proposals(max_tokens: int, store: Store, **fields: Any) -> list[str]:
    evaluations: dict[str, Any] = {
        "method": ["streaming", "recompute"],
        "window_size": 128,
        **fields,
    }
    grid = GRID | {
        "defaults": GRID["defaults"] | {"max_tokens": max_tokens},
        "grids": [evaluations],
    }
    warnings = make_plan(build_grid(grid), store).warnings
    return [warning for warning in warnings if "recompute_blocks" in warning]


def test_a_sample_of_blocks_is_proposed_where_the_baseline_is_nearly_all_of_the_work(
    tmp_path: Path,
) -> None:
    store = Store(tmp_path)
    (said,) = proposals(20_000, store, measure=["quality"])
    assert "recompute_blocks: 19 scores the exact baseline on 19 of up to 78 blocks" in said
    assert "recompute is 99% of the work" in said
    sampled = {"recompute_blocks": 19, "measure": ["quality"]}
    assert proposals(20_000, store, **sampled) == [], "it is one already"
    assert proposals(2_000, store, measure=["quality"]) == [], "too few blocks for a sample"
    assert proposals(20_000, store, measure=["quality"], method="streaming") == []
    assert proposals(20_000, store, measure=["quality"], recompute_stride=64) == []


def test_a_text_with_an_empty_row_is_told_once_as_a_problem(tmp_path: Path) -> None:
    text = tmp_path / "rows.jsonl"
    text.write_text('{"text": ""}\n{"text": "a few words of text that are scored"}\n', "utf-8")
    defaults = {"model": "demo", "method": "streaming", "window_size": 16}
    grid = {"sweep": "s", "defaults": defaults, "grids": [{"dataset": f"file:{text}"}]}
    plan = make_plan(build_grid(grid), Store(tmp_path / "store"))
    (problem,) = plan.problems
    assert "of 2 documents 1 empty or null" in problem
    assert "empty_documents=skip" in problem
    assert not any("empty or null" in warning for warning in plan.warnings)
