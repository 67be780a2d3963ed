import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.support.sweeps import spec
from workers.host.shipped_files import Shelf, local_paths, pack


def model_folder(root: Path) -> Path:
    folder = root / "my-model"
    (folder / "sub").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "sub" / "weights.bin").write_bytes(bytes(1000))
    return folder


def test_a_shipped_text_and_model_are_found_on_the_other_side(tmp_path: Path) -> None:
    text = tmp_path / "text.jsonl"
    text.write_text('{"body": "words"}')
    folder = model_folder(tmp_path)
    given = spec(1, model=str(folder), dataset=f"file:{text}#body")
    packed = {path: pack(path) or b"" for path in local_paths(given)}
    text.unlink()
    shelf = Shelf()
    shelf.put(packed)
    there = shelf.localise(given)
    path = there.dataset.removeprefix("file:").removesuffix("#body")
    assert Path(path).read_text() == '{"body": "words"}'
    assert (Path(there.model) / "sub" / "weights.bin").read_bytes() == bytes(1000)
    assert there.run_id == given.run_id
    shelf.close()
    assert not Path(path).exists()


KILLED = """
import os, signal, sys
from workers.host.shipped_files import Shelf, pack
shelf = Shelf()
shelf.put({sys.argv[1]: pack(sys.argv[1])})
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_worker_left_is_removed_and_what_a_living_one_uses_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, temporary = tmp_path / "text.txt", tmp_path / "tmp"
    text.write_text("words")
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    environment = {**os.environ, "TMPDIR": str(temporary)}
    living, packed = Shelf(), pack(str(text))
    assert packed is not None
    living.put({str(text): packed})
    subprocess.run([sys.executable, "-c", KILLED, str(text)], env=environment, check=False)
    assert len(list(temporary.iterdir())) == 2
    shelf = Shelf()
    shelf.put({str(text): packed})
    assert len(list(temporary.iterdir())) == 2
    there = living.localise(spec(1, dataset=f"file:{text}")).dataset
    assert Path(there.removeprefix("file:")).read_text() == "words"
    living.close()
    shelf.close()
    assert list(temporary.iterdir()) == []


def test_what_is_not_local_is_not_shipped() -> None:
    for given in (spec(1), spec(1, model="org/model", dataset="file:s3://bucket/text.txt")):
        assert local_paths(given) == []


def test_what_is_too_large_or_missing_stays_where_it_is(tmp_path: Path) -> None:
    folder = model_folder(tmp_path)
    assert pack(str(folder), largest=999) is None
    assert pack(str(tmp_path / "nothing")) is None
    given = spec(1, model=str(folder))
    assert Shelf().localise(given) is given
