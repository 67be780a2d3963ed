import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from orchestrator.store.compaction import Compactor, compact, merge
from orchestrator.store.group_commit import GroupCommit
from orchestrator.store.heartbeats import FOLDER
from orchestrator.store.part_files import part_names
from orchestrator.store.store import Store
from tests.support.crashing_evaluator import span
from tests.support.sweeps import row, spec

PARTS = 32
"""That make a merge; files on a busy disk take a while."""


def fill(root: Path, files: int, store: Store | None = None, first: int = 0) -> Store:
    store = store or Store(root)
    for seed in range(first, first + files):
        store.append_trials([row(seed, block_nll=[float(seed)])])
    return store


def seeds(root: Path) -> list[int]:
    store = Store(root)
    found = sorted(store.trials(["seed"]).column("seed").to_pylist())
    assert store.damaged == []
    return found


def test_a_driver_merges_its_own_parts_and_every_row_stays(tmp_path: Path) -> None:
    store = fill(tmp_path, PARTS)
    before = Store(tmp_path).trials(["seed", "block_nll"]).sort_by("seed")
    other = fill(tmp_path, 1, first=1000)
    compactor = Compactor(store, parts_per_merge=PARTS)
    compactor.merge_if_due()
    compactor.close()
    assert compactor.problem is None
    assert len(part_names(store.storage, "trials")) == 2
    after = Store(tmp_path).trials(["seed", "block_nll"]).sort_by("seed")
    assert after.slice(0, before.num_rows).equals(before)
    assert any(name.startswith(other.prefix) for name in part_names(store.storage, "trials"))


def test_too_few_parts_are_left_alone(tmp_path: Path) -> None:
    store = fill(tmp_path, 5)
    compactor = Compactor(store, parts_per_merge=PARTS)
    compactor.merge_if_due()
    compactor.close()
    assert len(part_names(store.storage, "trials")) == 5


def test_rows_committed_during_a_merge_are_kept(tmp_path: Path) -> None:
    store = fill(tmp_path, PARTS)
    compactor = Compactor(store, parts_per_merge=PARTS)
    compactor.merge_if_due()
    fill(tmp_path, 20, store, first=5000)
    compactor.close()
    assert len(seeds(tmp_path)) == PARTS + 20
    assert len(store.own_parts["trials"]) == 20


@pytest.mark.parametrize("deletions", range(5))
def test_a_crash_between_any_two_deletions_loses_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deletions: int
) -> None:
    class PowerCutError(BaseException):
        pass

    store = fill(tmp_path, 4)
    real, done = type(store.storage).delete, []

    def delete(storage: object, folder: str, name: str) -> None:
        if len(done) == deletions:
            raise PowerCutError
        done.append(name)
        real(storage, folder, name)  # type: ignore[arg-type]

    monkeypatch.setattr(type(store.storage), "delete", delete)
    try:
        merge(store, "trials", part_names(store.storage, "trials"))
    except PowerCutError:
        assert deletions < 4
    monkeypatch.undo()
    assert seeds(tmp_path) == [0, 1, 2, 3]
    compact(Store(tmp_path))
    assert seeds(tmp_path) == [0, 1, 2, 3]


def test_a_merge_that_cannot_write_keeps_every_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = fill(tmp_path, PARTS)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("orchestrator.store.storage.os.fsync", full)
    compactor = Compactor(store, parts_per_merge=PARTS)
    compactor.merge_if_due()
    compactor.close()
    assert "No space left" in (compactor.problem or "")
    assert seeds(tmp_path) == list(range(PARTS))


def _compact_forever(root: str) -> None:
    while True:
        compact(Store(root))


def test_a_compaction_killed_at_random_moments_harms_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    for trial in range(3):
        fill(tmp_path, 30, first=30 * trial)
        process = context.Process(target=_compact_forever, args=(str(tmp_path),))
        process.start()
        while process.is_alive() and len(list((tmp_path / "trials").iterdir())) > 25 - 7 * trial:
            time.sleep(0.001)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert seeds(tmp_path) == list(range(30 * (trial + 1)))


def test_compacting_the_store_leaves_running_writers_and_damaged_files_alone(
    tmp_path: Path,
) -> None:
    fill(tmp_path, 6)
    running = fill(tmp_path, 2, first=100)
    running.storage.replace(FOLDER, f"{running.writer}.json", json.dumps({"counter": 1}).encode())
    (tmp_path / "trials" / "part-x-1.parquet").write_bytes(b"torn")
    result = compact(Store(tmp_path))
    assert (result.files_before, result.files_after) == (9, 4)
    assert set(result.skipped) == {running.writer, "part-x-1.parquet"}
    assert len(running.own_parts["trials"]) == 2
    (tmp_path / "trials" / "part-x-1.parquet").unlink()
    assert seeds(tmp_path) == [0, 1, 2, 3, 4, 5, 100, 101]


def test_a_large_store_is_merged_into_files_of_a_stated_size(tmp_path: Path) -> None:
    store = fill(tmp_path, 40)
    names = part_names(store.storage, "trials")
    merge(store, "trials", names, size=8 * Store(tmp_path).trials().nbytes // 40)
    assert 2 < len(part_names(store.storage, "trials")) < 12
    assert seeds(tmp_path) == list(range(40))


def test_parts_of_finished_evaluations_are_dropped(tmp_path: Path) -> None:
    done, open_ = spec(1).run_id, spec(2).run_id
    Store(tmp_path).append_documents([span(done, 0), span(open_, 0)])
    Store(tmp_path).append_documents([span(open_, 1)])
    Store(tmp_path).append_trials([row(1)])
    compact(Store(tmp_path))
    assert {
        run_id: len(found) for run_id, found in Store(tmp_path).spans([done, open_]).items()
    } == {open_: 2}


def test_a_sweep_leaves_no_parts_behind_that_nobody_needs(tmp_path: Path) -> None:
    now = [0.0]
    commits = GroupCommit(Store(tmp_path), clock=lambda: now[0])
    run_id = spec(1).run_id
    commits.add_span(span(run_id, 0))
    now[0] += 60
    commits.commit_if_due()
    assert len(list((tmp_path / "documents").iterdir())) == 1
    commits.add_trial(row(1))
    commits.drop_spans(run_id)
    commits.close()
    assert list((tmp_path / "documents").iterdir()) == []
    assert seeds(tmp_path) == [1]
