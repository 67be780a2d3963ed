"""What `pip install` puts into an empty environment works there, far from any checkout."""

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("orchestrator", "workers", "analysis")


def run(*command: str | Path, cwd: Path) -> str:
    """Run a program as a user would who knows nothing of this checkout; return what it prints."""
    environment = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: setuptools writes beside its sources."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    for name in (*PACKAGES, "pyproject.toml", "README.md", "LICENSE"):
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, source / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, source)
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-build-isolation")
    run(*pip, "--no-deps", "--wheel-dir", built, source, cwd=built)
    (found,) = built.glob("sinksweep-*.whl")
    return found


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of console scripts of an environment that holds the wheel.

    What the wheel needs is taken from the present environment, as a test has no network.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index")
    run(*pip, "--no-deps", wheel, cwd=folder)
    (own,) = folder.glob("lib/python*/site-packages")
    needed = [entry for entry in sys.path if entry.endswith(("site-packages", "dist-packages"))]
    (own / "needed.pth").write_text("\n".join(needed) + "\n")
    return folder / "bin"


def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(wheel: Path) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *PACKAGES],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if tracked.returncode:
        pytest.skip("not a git checkout")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == {name for name in tracked.stdout.splitlines() if (ROOT / name).exists()}


def test_commands_grids_and_the_demo_model_work_in_an_empty_folder(
    programs: Path, tmp_path: Path
) -> None:
    sweep, analysis = programs / "sweep", programs / "analysis"
    where = run(programs / "python", "-c", "import workers; print(workers.__path__)", cwd=tmp_path)
    assert str(programs.parent) in where
    assert run(sweep, "--version", cwd=tmp_path).strip().endswith("0.2.0")
    grid = ["--grid", "quickstart"]
    for setting in ("dataset=pydoc", "method=streaming", "window_size=60", "n_sink=[0, 4]"):
        grid += ["--set", setting]
    grid += ["--set", "max_tokens=300", "--set", "measure=[quality]"]
    assert json.loads(run(sweep, "plan", *grid, "--json", cwd=tmp_path))["total"] == 2
    done = json.loads(run(sweep, "launch", "--inline", *grid, "--json", cwd=tmp_path))
    assert (done["done"], done["exit_code"]) == (2, 0)
    assert "demo" in run(analysis, "table", "--format", "csv", cwd=tmp_path)
    run(analysis, "plot", "--figure", "results_summary", cwd=tmp_path)
    assert (tmp_path / "results" / "figures" / "results_summary.png").exists()
