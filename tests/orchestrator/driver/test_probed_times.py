"""From the speeds of a few evaluations to the time of all: arithmetic by hand."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.driver.probed_times import ProbedTimes, Tried, one_of_each_kind
from orchestrator.grid.load import build_grid
from orchestrator.reports.plan import _unsaid, make_plan
from orchestrator.store.store import Store
from workers.contract.events import Speed
from workers.contract.spec import EvalSpec

GRID = {
    "sweep": "s",
    "defaults": {"model": "random:tiny-neox", "dataset": "random", "max_tokens": 101},
    "grids": [
        {"method": ["streaming", "recompute"], "window_size": [16, 32], "seed": [0, 1]},
        {"method": "streaming", "n_sink": 2, "window_size": 18},  # a budget that is there already
    ],
}
SPEED = Speed(
    device="H200",
    load=0.0,
    setup=0.5,
    quality=2.0,
    attention=0.0,
    prefill=0.25,
    decode=1.0,
    took=3.0,
)


def found(specs: list[EvalSpec], evaluators: int = 1, **changes: float) -> ProbedTimes:
    first, *rest = (Tried(spec, replace(SPEED, **changes)) for spec in specs)
    first = Tried(first.spec, replace(first.speed, load=10.0))  # it had the model to load
    return ProbedTimes([first, *rest], 4.0, evaluators, {})


def test_a_kind_is_a_method_and_a_budget_whatever_the_sinks_and_the_seed() -> None:
    specs = [item.spec for item in build_grid(GRID).evaluations]
    assert len(specs) == 9
    kinds = {(spec.method, spec.budget) for spec in one_of_each_kind(specs)}
    assert len(one_of_each_kind(specs)) == 4
    assert kinds == {(m, b) for m in ("streaming", "recompute") for b in (20, 36)}


def test_kinds_are_tried_on_different_texts_where_there_are_any() -> None:
    spec = EvalSpec(model="demo", dataset="pydoc", method="streaming", window_size=16)
    other = replace(spec, dataset="stdlib")
    wide = [replace(one, window_size=32) for one in (spec, other)]
    assert [one.dataset for one in one_of_each_kind([spec, other, *wide])] == ["pydoc", "stdlib"]


def test_a_plan_adds_what_happens_once_and_divides_by_what_runs_side_by_side(
    tmp_path: Path,
) -> None:
    grid = build_grid(GRID)
    alone = make_plan(
        grid, Store(tmp_path / "none"), probe=lambda specs: found(one_of_each_kind(specs))
    )
    assert (alone.device, alone.probed, alone.estimate.time_unknown) == ("H200", True, 0)
    assert alone.estimate.seconds == pytest.approx(9 * (0.5 + 2.0 + 0.25 + 1.0))
    assert alone.overhead_seconds == pytest.approx(4.0 + 10.0)
    assert alone.wall_seconds == pytest.approx(14.0 + 9 * 3.75)
    assert alone.cost(3600.0) == pytest.approx(14.0 + 9 * 3.75)
    four = make_plan(
        grid, Store(tmp_path / "none"), probe=lambda specs: found(one_of_each_kind(specs), 4)
    )
    assert four.wall_seconds == pytest.approx(14.0 + 9 * 3.75 / 4)
    assert four.cost(3600.0) == pytest.approx(4 * (14.0 + 9 * 3.75 / 4)), "all of them start"
    many = make_plan(
        grid, Store(tmp_path / "none"), probe=lambda specs: found(one_of_each_kind(specs), 500)
    )
    assert many.wall_seconds == pytest.approx(14.0 + 3.75), "no more than there is work for"


def test_a_longer_text_takes_longer_in_what_runs_over_it(tmp_path: Path) -> None:
    grid = {
        **GRID,
        "grids": [{"method": "streaming", "window_size": 16, "max_tokens": [101, 1001]}],
    }
    plan = make_plan(
        build_grid(grid), Store(tmp_path), probe=lambda specs: found(one_of_each_kind(specs))
    )
    # Ten times the scored tokens in the pass; the decode is as long; prefill is told in full.
    assert plan.estimate.seconds == pytest.approx(2 * (0.5 + 0.25 + 1.0) + 2.0 + 20.0)


def test_what_cannot_be_run_is_a_problem_with_its_number_and_has_no_time(tmp_path: Path) -> None:
    grid = build_grid(GRID)

    def probe(specs: object) -> ProbedTimes:
        return ProbedTimes([], 0.0, 1, {"no such layer": ["a streaming 4+16", "b streaming 4+32"]})

    plan = make_plan(grid, Store(tmp_path), probe=probe)
    assert plan.problems == ("a streaming 4+16 and 1 more: no such layer",)
    assert plan.estimate.seconds is None
    assert plan.wall_seconds is None


def test_nothing_is_tried_where_everything_is_done(tmp_path: Path) -> None:
    def never(specs: object) -> ProbedTimes:
        raise AssertionError("nothing is left to try")

    empty = replace(build_grid(GRID), evaluations=())
    assert make_plan(empty, Store(tmp_path), probe=never).wall_seconds == 0.0


def test_a_problem_that_has_been_told_is_not_told_again_and_every_other_one_is() -> None:
    told = ["stdlib: cannot be read", "no Hub"]
    new = ["demo stdlib dense: cannot be read", "demo pydoc dense: no such layer"]
    assert _unsaid(new, told) == new[1:]
