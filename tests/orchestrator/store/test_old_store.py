"""A store of version 0.1.0 is read, continued and plotted; nothing in it is run again.

The files of tests/data/store_0_1 were written by commit 74097f6: twelve results of `grid.yaml`,
and the documents that an interrupted launch of `unfinished.yaml` had finished. `text.txt` was the
LICENSE of this repository.
"""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from analysis.cli import analysis
from orchestrator.driver.loop import LaunchOptions
from orchestrator.grid.load import load_grid
from orchestrator.launch import Where, launch_sweep
from orchestrator.progress.snapshot import Silent
from orchestrator.store.remaining import find_remaining
from orchestrator.store.store import Store
from orchestrator.sweep import Sweep
from workers.contract.rows import TRIALS
from workers.contract.spec import from_columns

ROOT = Path(__file__).parents[3]
OLD = ROOT / "tests" / "data" / "store_0_1"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    shutil.copytree(OLD, tmp_path / "store")
    shutil.copy(ROOT / "LICENSE", tmp_path / "store" / "text.txt")
    return Store(tmp_path / "store")


def sweep(store: Store, name: str, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    monkeypatch.chdir(str(store.storage.local_root))
    return load_grid(name)


def test_every_row_is_read_and_means_what_it_meant(store: Store) -> None:
    rows = store.trials(TRIALS.names).to_pylist()
    assert (len(rows), store.damaged) == (12, [])
    for row in rows:
        assert from_columns(row).run_id == row["run_id"]


def test_nothing_that_is_done_is_run_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    old = sweep(store, "grid.yaml", monkeypatch)
    assert len(old.evaluations) == 12
    assert find_remaining(old, store).todo == ()
    ended = launch_sweep(old, store, Where(inline=True), LaunchOptions(), Silent())
    assert (ended.done_before, ended.ok, ended.attempts, ended.exit_code) == (12, 0, 0, 0)


@pytest.mark.slow
def test_an_interrupted_launch_is_continued_from_its_documents(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    unfinished = sweep(store, "unfinished.yaml", monkeypatch)
    (planned,) = unfinished.evaluations
    spans = store.spans([planned.spec.run_id])[planned.spec.run_id]
    assert len(spans) > 2
    # What the others cost is not asked here: made-up sums for all of them but the last two.
    others = range(max(span["document"] for span in spans) + 1, planned.spec.max_documents - 2)
    made_up = [{**spans[0], "row_id": f"made-up-{one}", "document": one} for one in others]
    store.append_documents(made_up)
    ended = launch_sweep(unfinished, store, Where(inline=True), LaunchOptions(), Silent())
    assert (ended.ok, ended.attempts) == (1, 1)
    columns = ["run_id", "n_documents", "block_document", "block_nll"]
    row = next(r for r in store.results(columns).to_pylist() if r["run_id"] == planned.spec.run_id)
    of_block = dict(zip(row["block_document"], row["block_nll"], strict=True))
    assert [*of_block] == [*range(planned.spec.max_documents)]
    for span in (*spans, *made_up):  # one block each: the sums went into the row as they are
        assert of_block[span["document"]] == sum(span["block_nll"])


def test_it_is_plotted(store: Store, tmp_path: Path) -> None:
    arguments = ["plot", "--store", store.uri, "--out", str(tmp_path / "figures")]
    done = CliRunner().invoke(analysis, [*arguments, "--figure", "main_comparison"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "figures" / "main_comparison.png").stat().st_size > 10_000
