import datetime as dt
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.errors import StoreError, StoreVersionError, UsageError
from orchestrator.store import part_files
from orchestrator.store.store import SCALARS, Store
from tests.support.crashing_evaluator import span
from tests.support.sweeps import row, spec
from workers.contract.rows import LIST_COLUMNS, TRIALS


def perplexities(store: Store) -> list[float]:
    return sorted(store.results(["perplexity"]).column("perplexity").to_pylist())


def parts(root: Path, folder: str = "trials") -> list[Path]:
    return sorted((root / folder).iterdir())


def test_what_is_appended_is_read_back_with_every_column(tmp_path: Path) -> None:
    given = row(1, block_nll=[1.5, 2.5], block_index=[0, 1], measure=["quality"], error_kind=None)
    Store(tmp_path).append_trials([given])
    table = Store(tmp_path).trials(TRIALS.names)
    assert table.schema.equals(TRIALS)
    (found,) = table.to_pylist()
    assert {name: found[name] for name in given} == given


def test_block_lists_are_left_out_unless_asked_for(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.append_trials([row(1, block_nll=[1.0])])
    assert set(store.trials().column_names) == set(SCALARS) == set(TRIALS.names) - set(LIST_COLUMNS)
    assert store.results(["block_nll"]).to_pylist() == [{"block_nll": [1.0]}]


def test_opening_and_reading_a_store_creates_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "new")
    assert store.trials().num_rows == 0
    assert store.spans(["a"]) == {}
    assert not (tmp_path / "new").exists()


def test_two_writers_never_choose_the_same_file_name(tmp_path: Path) -> None:
    for seed in range(4):
        Store(tmp_path).append_trials([row(seed)])
    assert len(parts(tmp_path)) == 4
    assert perplexities(Store(tmp_path)) == [1.0, 2.0, 3.0, 4.0]


def test_a_repeated_row_is_read_once(tmp_path: Path) -> None:
    for _ in range(3):
        Store(tmp_path).append_trials([row(1), row(2)])
    assert Store(tmp_path).trials().num_rows == 2


def test_a_result_is_the_latest_ok_row_per_kind_of_machine(tmp_path: Path) -> None:
    noon = dt.datetime(2026, 1, 1, 12, tzinfo=dt.timezone.utc)
    hour = dt.timedelta(hours=1)
    gpu = {"device_name": "H200", "num_threads": None, "torch_version": "2"}
    Store(tmp_path).append_trials(
        [
            row(1, row_id="late", perplexity=5.0, finished_at=noon + hour, **gpu),
            row(1, row_id="early", perplexity=4.0, finished_at=noon, **gpu),
            row(1, row_id="failed", status="failed", finished_at=noon + 2 * hour, **gpu),
            row(1, row_id="cpu", perplexity=6.0, finished_at=noon, device_name="CPU"),
        ]
    )
    assert perplexities(Store(tmp_path)) == [5.0, 6.0]


@pytest.mark.parametrize("keep", [0, 3, 100, -20])
def test_a_truncated_file_is_named_and_survived(tmp_path: Path, keep: int) -> None:
    Store(tmp_path).append_trials([row(1)])
    Store(tmp_path).append_trials([row(2)])
    victim = parts(tmp_path)[0]
    victim.write_bytes(victim.read_bytes()[:keep])
    store = Store(tmp_path)
    assert store.results().num_rows == 1
    ((path, reason),) = store.damaged
    assert path == f"trials/{victim.name}"
    assert reason


def test_a_file_of_random_bytes_is_named_and_survived(tmp_path: Path) -> None:
    Store(tmp_path).append_trials([row(1)])
    (tmp_path / "trials" / "part-x-00000001.parquet").write_bytes(bytes(range(256)) * 10)
    store = Store(tmp_path)
    assert store.results().num_rows == 1
    assert [path for path, _ in store.damaged] == ["trials/part-x-00000001.parquet"]


def test_a_foreign_parquet_file_is_named_and_survived(tmp_path: Path) -> None:
    Store(tmp_path).append_trials([row(1)])
    pq.write_table(pa.table({"cats": [1, 2]}), tmp_path / "trials" / "cats.parquet")
    store = Store(tmp_path)
    assert store.results().num_rows == 1
    ((path, reason),) = store.damaged
    assert path == "trials/cats.parquet"
    assert "foreign" in reason


def test_a_column_of_a_wrong_type_is_a_damaged_file(tmp_path: Path) -> None:
    table = pa.table({"row_id": ["r"], "run_id": ["x"], "schema_version": [1], "perplexity": ["?"]})
    (tmp_path / "trials").mkdir()
    pq.write_table(table, tmp_path / "trials" / "odd.parquet")
    store = Store(tmp_path)
    assert store.trials(["perplexity"]).num_rows == 0
    assert [path for path, _ in store.damaged] == ["trials/odd.parquet"]


def test_files_being_written_and_other_files_are_ignored(tmp_path: Path) -> None:
    Store(tmp_path).append_trials([row(1)])
    for name in ("_part-y-1.parquet", ".part-z-1.parquet", "notes.txt"):
        (tmp_path / "trials" / name).write_bytes(b"half a file")
    store = Store(tmp_path)
    assert store.results().num_rows == 1
    assert store.damaged == []


def test_a_newer_major_schema_is_refused_in_words(tmp_path: Path) -> None:
    Store(tmp_path).append_trials([row(1), row(2, schema_version=2)])
    with pytest.raises(StoreVersionError, match=r"schema version 2.*reads up to 1.*upgrade"):
        Store(tmp_path).results()


def test_columns_of_a_newer_minor_version_are_left_out_and_old_files_filled_up(
    tmp_path: Path,
) -> None:
    wanted = ("row_id", "run_id", "schema_version", "status", "perplexity")
    full = pa.Table.from_pylist([row(1)], schema=TRIALS)
    newer = full.append_column("mood", pa.array(["good"]))
    older = pa.Table.from_pylist([row(2)], schema=TRIALS).select(list(wanted))
    (tmp_path / "trials").mkdir()
    pq.write_table(newer, tmp_path / "trials" / "newer.parquet")
    pq.write_table(older, tmp_path / "trials" / "older.parquet")
    store = Store(tmp_path)
    assert perplexities(store) == [2.0, 3.0]
    assert store.damaged == []
    assert set(store.trials().column("model").to_pylist()) == {"demo", None}


def test_a_file_that_vanishes_under_the_reader_is_found_in_its_merged_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store(tmp_path).append_trials([row(1)])
    Store(tmp_path).append_trials([row(2)])
    listed = part_files.part_names(Store(tmp_path).storage, "trials")
    Store(tmp_path).append_trials([row(1), row(2)])  # what compaction writes
    for name in listed:
        (tmp_path / "trials" / name).unlink()
    real, calls = part_files.part_names, []

    def stale_once(storage: object, folder: str) -> list[str]:
        calls.append(folder)
        return listed if len(calls) == 1 else real(storage, folder)  # type: ignore[arg-type]

    monkeypatch.setattr(part_files, "part_names", stale_once)
    store = Store(tmp_path)
    assert perplexities(store) == [2.0, 3.0]
    assert store.damaged == []


def test_a_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UsageError, match="is a file; a store is a folder"):
            Store(path)


@pytest.mark.parametrize("path", ["", " ", "s3://", "gs:///", "file://"])
def test_a_name_of_no_store_is_refused(path: str) -> None:
    with pytest.raises(UsageError, match="names no store"):
        Store(path)


def test_a_path_that_no_folder_can_have_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot be used: File name too long"):
        Store("x" * 300)


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(UsageError, match="must be a path, s3://"):
        Store("ftp://somewhere/x")


def test_a_failed_write_is_loud_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    store.append_trials([row(1)])

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("orchestrator.store.storage.os.fsync", full)
    with pytest.raises(StoreError, match=r"1 row cannot be written.*No space left"):
        store.append_trials([row(2)])
    assert [path.name for path in parts(tmp_path)] == [f"part-{store.writer}-00000001.parquet"]


@pytest.mark.parametrize("victim", ["", "trials"])
def test_a_removed_folder_is_loud_and_not_made_again(tmp_path: Path, victim: str) -> None:
    import shutil

    root = tmp_path / "store"
    store = Store(root)
    store.append_trials([row(1)])
    shutil.rmtree(root / victim)
    with pytest.raises(StoreError, match="was removed while in use"):
        store.append_trials([row(2)])
    assert not (root / "trials").exists()


def test_parts_come_back_in_the_order_of_the_text(tmp_path: Path) -> None:
    store, run_id = Store(tmp_path), spec(1).run_id
    store.append_documents([span(run_id, 2), span("other", 0)])
    store.append_documents([span(run_id, 0), span(run_id, 1)])
    found = Store(tmp_path).spans([run_id])
    assert [item["document"] for item in found[run_id]] == [0, 1, 2]
    assert set(found) == {run_id}
