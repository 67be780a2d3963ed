"""The same launch in this process, without ray and datasets, and on a Ray of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.store.store import Store

ROOT = Path(__file__).parents[2]
GRID = {
    "sweep": "s",
    "defaults": {"model": "demo", "dataset": "pydoc", "max_documents": 1, "max_tokens": 200},
    "grids": [
        {
            "method": ["recompute", "streaming", "window", "dense"],
            "window_size": 32,
            "measure": ["quality"],
        }
    ],
}
HIDDEN = "import sys\nsys.modules['ray'] = sys.modules['datasets'] = None\n"
MAIN = "import sys\nfrom orchestrator.cli import main\nmain()\n"
PLACES = {
    "inline": (MAIN, ["--inline"]),
    "without ray and datasets": (HIDDEN + MAIN, ["--inline"]),
    "local ray": (MAIN, ["--local"]),
}


def launch(folder: Path, code: str, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, "launch", "--grid", "g.yaml", "--store", "store"]
    return subprocess.run(
        [*command, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder with the grid and its store, for each place."""
    found = {}
    for place, (code, arguments) in PLACES.items():
        found[place] = tmp_path_factory.mktemp("place")
        (found[place] / "g.yaml").write_text(json.dumps(GRID))
        done = launch(found[place], code, arguments)
        assert done.returncode == 0, done.stderr
    return found


def test_every_place_gives_the_same_evaluations_the_same_perplexities(
    places: dict[str, Path],
) -> None:
    outcomes = {}
    for place, folder in places.items():
        table = Store(folder / "store").results(["run_id", "perplexity"])
        outcomes[place] = dict(zip(*table.to_pydict().values(), strict=True))
    reference = outcomes["inline"]
    assert len(reference) == 4
    for place, found in outcomes.items():
        assert found == pytest.approx(reference, rel=1e-9), place


def test_without_ray_the_remedy_is_said(tmp_path: Path) -> None:
    (tmp_path / "g.yaml").write_text(json.dumps(GRID))
    done = launch(tmp_path, HIDDEN + MAIN, ["--local"])
    assert done.returncode == 2
    _plan, line = done.stderr.strip().splitlines()
    assert "ray is not installed" in line
    assert "--inline" in line
    assert [path.name for path in tmp_path.iterdir()] == ["g.yaml"]


def test_where_nothing_is_left_neither_torch_nor_ray_is_started(
    places: dict[str, Path],
) -> None:
    without = "import sys\nsys.modules['torch'] = sys.modules['ray'] = None\n" + MAIN
    again = launch(places["inline"], without, ["--local"])
    assert again.returncode == 0, again.stderr
    assert "(0 run now, 4 done before)" in again.stdout
    measured_again = launch(places["inline"], without, ["--local", "--remeasure"])
    assert measured_again.returncode == 2


MISSING = {
    "sweep": "s",
    "defaults": {
        "model": "somebody/some-model",
        "model_revision": "0" * 40,
        "max_tokens": 200,
        "dataset": "pydoc",
        "method": "streaming",
    },
    "grids": [{"window_size": [32, 64, 128]}],
}


def test_a_model_that_cannot_be_had_is_said_once_before_anything_is_started(
    tmp_path: Path,
) -> None:
    (tmp_path / "g.yaml").write_text(json.dumps(MISSING))
    offline = "import os\nos.environ['HF_HUB_OFFLINE'] = '1'\n"
    done = launch(tmp_path, offline + MAIN, ["--local"])
    assert done.returncode == 2
    assert done.stderr.count("somebody/some-model: not in the cache") == 1
    assert "3 of 3 evaluations" in done.stderr
    assert "hf download --repo-type model somebody/some-model" in done.stderr
    assert "Ray" not in done.stderr
    assert not (tmp_path / "store" / "trials").exists()
