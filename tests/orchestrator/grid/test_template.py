"""`sweep init`: a grid that is right as it is written, for any model and text."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from orchestrator.cli import sweep
from orchestrator.grid.load import load_grid
from orchestrator.grid.template import grid_text


def init(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(sweep, ["init", "--out", str(folder / "g.yaml"), *arguments])


def test_the_grid_is_valid_and_stays_within_the_trained_positions(tmp_path: Path) -> None:
    assert init(tmp_path).exit_code == 0
    found = load_grid(str(tmp_path / "g.yaml"))
    assert {item.spec.method for item in found.evaluations} == {"recompute", "streaming", "dense"}
    assert max((item.spec.budget or 0) + 1 for item in found.evaluations) <= 256
    assert found.resources.gpus == 0


def test_texts_of_ones_own_are_files_and_folders_with_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "my 'own' texts #1"
    folder.mkdir()
    (folder / "a: b.txt").write_text("Some text.")
    for text, dataset in ((folder, f"{folder}/"), (folder / "a: b.txt", f"{folder}/a: b.txt")):
        assert init(tmp_path, "--text", str(text), "--force").exit_code == 0
        found = load_grid(str(tmp_path / "g.yaml"))
        assert {item.spec.dataset for item in found.evaluations} == {f"file:{dataset}"}


@pytest.mark.parametrize("relative", [False, True])
def test_a_models_own_configuration_says_how_large_its_caches_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, relative: bool
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": 600}))
    monkeypatch.chdir(tmp_path)
    assert init(tmp_path, "--model", "mine" if relative else str(folder)).exit_code == 0
    found = load_grid(str(tmp_path / "g.yaml"))
    assert max(item.spec.budget or 0 for item in found.evaluations) == 508 + 8
    assert "dtype: float16" in grid_text("demo", "pydoc", "g.yaml", gpus=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--text", "nowhere.txt"), "no such file|cannot be read"),
        (("--text", "picture.png"), "must end in"),
        (("--model", "./nowhere"), "not a model folder"),
    ],
)
def test_what_a_launch_would_refuse_is_refused(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = init(tmp_path, *arguments)
    assert done.exit_code == 2
    assert any(word in done.output for word in message.split("|")), done.output
    assert not (tmp_path / "g.yaml").exists()


def test_nothing_is_replaced_unasked(tmp_path: Path) -> None:
    (tmp_path / "g.yaml").write_text("mine")
    assert init(tmp_path).exit_code == 2
    assert (tmp_path / "g.yaml").read_text() == "mine"
