"""The Python interface, and that its documentation is true."""

import re
from pathlib import Path

import pytest

from orchestrator import api
from orchestrator.errors import GridError, UsageError
from orchestrator.store.store import Store
from tests.orchestrator.reports.test_status import driver
from tests.support import sweeps
from tests.support.sweeps import row, spec

ROOT = Path(__file__).parents[2]
GRID = {**sweeps.GRID, "grids": [{"method": ["dense", "streaming"], "window_size": 16}]}
INLINE = api.Where(inline=True)


def test_the_example_of_the_documentation_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "api.md").read_text(), re.DOTALL)
    exec(compile(code, "docs/api.md", "exec"), {"__name__": "example"})
    output = capsys.readouterr().out
    assert output.startswith("4 evaluations, ")
    assert len(re.findall(r"^(?:recompute|streaming) \d+ \d", output, re.MULTILINE)) == 4
    assert "evicted_tokens" in output


def test_every_public_name_is_documented_and_there() -> None:
    text = (ROOT / "docs" / "api.md").read_text()
    for name in api.__all__:
        assert hasattr(api, name)
    functions = [name for name in api.__all__ if name.islower()]
    assert [name for name in functions if f"`{name}(" not in text] == []


def test_a_launch_from_code_is_a_launch(tmp_path: Path) -> None:
    store = tmp_path / "store"
    summary = api.launch(GRID, store, where=INLINE, listener=api.Silent())
    assert (summary.ok, summary.failed, summary.exit_code) == (2, 0, 0)
    frame = api.results(store)
    assert set(frame["method"]) == {"dense", "streaming"}
    assert (frame["perplexity"] > 1).all()
    assert api.plan(GRID, store).done == 2
    assert api.status(store, GRID).entries[0].ok == 2


def test_progress_is_shown_unless_silenced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api.launch(GRID, tmp_path / "store", where=INLINE)
    assert "s: 2/2 done" in capsys.readouterr().err


def test_options_reach_the_driver(tmp_path: Path) -> None:
    options = api.LaunchOptions(limit=1)
    summary = api.launch(
        GRID, tmp_path / "store", where=INLINE, options=options, listener=api.Silent()
    )
    assert (summary.ok, summary.skipped, summary.exit_code) == (1, 1, 1)


def test_a_wrong_grid_raises_every_problem_and_starts_nothing(tmp_path: Path) -> None:
    wrong = {**GRID, "grids": [{"method": "streming", "n_sink": -1}]}
    with pytest.raises(GridError) as caught:
        api.launch(wrong, tmp_path / "store", where=INLINE)
    assert {problem.key for problem in caught.value.problems} == {"method", "n_sink"}
    assert list(tmp_path.iterdir()) == []


def test_places_to_run_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="--inline and --address"):
        api.Where(inline=True, address="auto")


def test_results_filter_and_choose_columns(tmp_path: Path) -> None:
    Store(tmp_path).append_trials([row(1), row(2), {**row(3), "status": "failed"}])
    frame = api.results(tmp_path, where=["seed>1"], columns=["run_id", "perplexity"])
    assert frame.to_dict("records") == [{"run_id": spec(2).run_id, "perplexity": 3.0}]
    assert len(api.results(tmp_path, attempts=True)) == 3


def test_watching_yields_the_states_of_all_drivers(tmp_path: Path) -> None:
    store = Store(tmp_path)
    driver(store, "w")
    states = api.watch(tmp_path)
    assert [(item.sweep, item.done) for item in next(states)] == [("s", 5)]
    store.storage.delete("drivers", "w.json")
    assert list(states) == []
