"""`sweep fetch`: another store's results, copied once."""

import os
import stat
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner, Result

from orchestrator.cli import sweep as command
from orchestrator.errors import StoreError
from orchestrator.store.copying import fetch
from orchestrator.store.storage import LocalStorage
from orchestrator.store.store import Store
from tests.support.sweeps import ok_run_ids, row, spec


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command, ["fetch", *arguments])


@pytest.fixture
def source(tmp_path: Path) -> Store:
    store = Store(tmp_path / "source")
    store.append_trials([row(1), row(2)])
    store.append_trials([row(3)])
    return store


def test_what_is_missing_is_copied_and_nothing_twice(source: Store, tmp_path: Path) -> None:
    here = str(tmp_path / "here")
    assert "2 files copied" in run("--from", source.uri, "--store", here).output
    assert ok_run_ids(Store(here)) == sorted(spec(seed).run_id for seed in (1, 2, 3))
    source.append_trials([row(4)])
    output = run("--from", source.uri, "--store", here).output
    assert "1 file copied" in output
    assert "2 there before" in output
    assert len(ok_run_ids(Store(here))) == 4


def test_results_that_were_here_stay(source: Store, tmp_path: Path) -> None:
    here = Store(tmp_path / "here")
    here.append_trials([row(9)])
    fetch(source.uri, here)
    assert ok_run_ids(here) == sorted(spec(seed).run_id for seed in (1, 2, 3, 9))


def test_half_written_files_and_drivers_are_left(source: Store, tmp_path: Path) -> None:
    root = Path(source.uri)
    (root / "trials" / "_part-x.parquet").write_bytes(b"half")
    (root / "drivers").mkdir()
    (root / "drivers" / "w.json").write_text("{}")
    fetch(source.uri, Store(tmp_path / "here"))
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["trials"]
    assert len(list((tmp_path / "here" / "trials").iterdir())) == 2


def test_parts_of_unfinished_evaluations_are_copied_on_demand(
    source: Store, tmp_path: Path
) -> None:
    source.append_documents([{"row_id": "p", "run_id": spec(7).run_id, "document": 0, "start": 0}])
    here = Store(tmp_path / "here")
    fetch(source.uri, here)
    assert here.spans([spec(7).run_id]) == {}
    fetch(source.uri, here, unfinished=True)
    assert list(here.spans([spec(7).run_id])) == [spec(7).run_id]


def test_a_part_that_vanishes_meanwhile_was_compacted(
    source: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = source.storage.names("trials")
    opened = LocalStorage.open

    def open_late(storage: LocalStorage, folder: str, name: str) -> pa.NativeFile:
        if name == second and (Path(source.uri) / "trials" / first).exists():
            source.append_trials([row(1), row(2), row(3)])  # the merged file first,
            for old in (first, second):  # its inputs after
                storage.delete("trials", old)
        return opened(storage, folder, name)

    monkeypatch.setattr(LocalStorage, "open", open_late)
    here = Store(tmp_path / "here")
    fetch(source.uri, here)
    assert ok_run_ids(here) == sorted(spec(seed).run_id for seed in (1, 2, 3))


def test_a_place_without_results_is_said(tmp_path: Path) -> None:
    result = run("--from", str(tmp_path / "nothing"), "--store", str(tmp_path / "here"))
    assert result.exit_code == 1
    assert "holds no results" in result.stderr
    assert not (tmp_path / "here").exists()


def test_a_store_is_not_copied_onto_itself(source: Store) -> None:
    result = run("--from", source.uri, "--store", source.uri)
    assert result.exit_code == 2
    assert "the store itself" in result.stderr


FILE = "cluster_name: c\nprovider: {{type: local, head_ip: {head}}}\nauth: {{ssh_user: me}}\n"


@pytest.fixture
def rsync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An `rsync` whose head is this machine, and a head `10.0.0.9` that lets nobody in."""
    script = tmp_path / "bin" / "rsync"
    script.parent.mkdir()
    script.write_text(
        '#!/bin/sh\ncase "$5" in *10.0.0.9*) echo "Connection refused" >&2; exit 255;; esac\n'
        'cp -r "${5#*:}." "$6"\n'
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
    return script


def test_a_folder_on_the_head_is_fetched_by_its_cluster_file(
    source: Store, tmp_path: Path, rsync: Path
) -> None:
    (tmp_path / "cluster.yaml").write_text(FILE.format(head="10.0.0.1"))
    here = str(tmp_path / "here")
    cluster = ["--cluster", str(tmp_path / "cluster.yaml")]
    result = run("--from", source.uri, "--store", here, *cluster)
    assert result.exit_code == 0, result.output
    assert len(ok_run_ids(Store(here))) == 3


def test_a_head_that_does_not_answer_is_said_in_one_line(
    source: Store, tmp_path: Path, rsync: Path
) -> None:
    (tmp_path / "cluster.yaml").write_text(FILE.format(head="10.0.0.9"))
    cluster = ["--cluster", str(tmp_path / "cluster.yaml")]
    result = run("--from", source.uri, "--store", str(tmp_path / "here"), *cluster)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert "me@10.0.0.9" in line
    assert "cannot be reached by SSH (Connection refused)" in line


def test_without_rsync_the_remedy_is_said(
    source: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "cluster.yaml").write_text(FILE.format(head="10.0.0.1"))
    cluster = ["--cluster", str(tmp_path / "cluster.yaml")]
    result = run("--from", source.uri, "--store", str(tmp_path / "here"), *cluster)
    assert result.exit_code == 2
    assert "rsync is not installed here: install it" in result.stderr


def test_a_store_that_never_holds_still_is_given_up(
    source: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def vanished(storage: LocalStorage, folder: str, name: str) -> pa.NativeFile:
        raise FileNotFoundError(name)

    monkeypatch.setattr(LocalStorage, "open", vanished)
    with pytest.raises(StoreError, match="keeps changing"):
        fetch(source.uri, Store(tmp_path / "here"))
