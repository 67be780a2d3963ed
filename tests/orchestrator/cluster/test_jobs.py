"""`sweep submit`: the driver as a job on a cluster's head."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from orchestrator.cli import sweep as command
from orchestrator.cluster.jobs import GRID_FILE, check_store, packed
from orchestrator.commands.submit import _argument
from orchestrator.errors import UsageError
from orchestrator.grid.load import load_grid
from orchestrator.store.store import Store
from tests.support.sweeps import ok_run_ids, run_ids

ROOT = Path(__file__).parents[3]
GRID = {
    "sweep": "s",
    "defaults": {"model": "random:tiny-neox", "max_tokens": 80, "measure": ["quality"]},
    "grids": [
        {"dataset": "random", "method": "streaming", "window_size": [16, 32]},
        {"dataset": "random", "method": "dense", "seed": 1},
    ],
}
# As `ray start` leaves a head: its own folder names its address (without that, Ray gives a job
# whichever cluster of this machine it finds first), and nothing else has the ports.
HEAD = """
import pathlib, socket, sys, tempfile
from ray.cluster_utils import Cluster
def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
    cluster = Cluster(initialize_head=True, head_node_args={
        "num_cpus": 1, "object_store_memory": 80_000_000, "temp_dir": folder,
        "include_dashboard": True, "dashboard_port": free_port(),
        "dashboard_agent_listen_port": free_port()})
    (pathlib.Path(folder) / "ray_current_cluster").write_text(cluster.address)
    print(cluster.webui_url, flush=True)
    sys.stdin.read()
    cluster.shutdown()
"""


def submit(*arguments: str) -> Result:
    return CliRunner().invoke(command, ["submit", "--grid", "g.yaml", *arguments])


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "g.yaml").write_text(json.dumps(GRID))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def head() -> Iterator[str]:
    """The job server of a cluster that ends with these tests."""
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    with subprocess.Popen(
        [sys.executable, "-c", HEAD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout is not None
        yield f"http://{process.stdout.readline().strip()}"
        process.communicate()


def test_a_grid_runs_on_the_head_and_its_rows_come_back(workplace: Path, head: str) -> None:
    store = workplace / "store"
    arguments = ["--store", str(store), "--address", head, "--python", sys.executable, "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator.cli", "submit", "--grid", "g.yaml", *arguments],
        env={**os.environ, "RAY_AUTH_MODE": "token", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    job = json.loads(done.stdout)
    assert (job["sweep"], job["evaluations"], job["alive"]) == ("s", 3, True)
    deadline = time.monotonic() + 180
    while len(ok_run_ids(Store(store))) < 3 and time.monotonic() < deadline:
        time.sleep(0.5)
    assert ok_run_ids(Store(store)) == run_ids(load_grid("g.yaml"))


def test_texts_travel_with_the_grid_and_keep_their_run_ids(workplace: Path) -> None:
    (workplace / "texts").mkdir()
    (workplace / "texts" / "a.txt").write_text("the first text")
    (workplace / "b.json").write_text('{"text": "the second text"}')
    grid = {
        **GRID,
        "grids": [{"dataset": ["file:texts/a.txt", "file:b.json#text"], "method": "dense"}],
    }
    (workplace / "g.yaml").write_text(json.dumps(grid))
    here = load_grid("g.yaml", overrides=("max_tokens=50",))
    with packed("g.yaml", ("max_tokens=50",)) as folder:
        os.chdir(folder)
        there = load_grid(GRID_FILE)
        assert all(str(folder) in item.spec.dataset for item in there.evaluations)
    assert run_ids(there) == run_ids(here)


def test_an_override_may_name_a_text(workplace: Path) -> None:
    (workplace / "a.txt").write_text("a text")
    with packed("g.yaml", ("dataset=file:a.txt",)) as folder:
        grid = json.loads((folder / GRID_FILE).read_text())
        (name,) = {entry["dataset"].removeprefix("file:") for entry in grid["grids"]}
        assert Path(name).name == "a.txt"
        assert (folder / name).read_text() == "a text"


def test_a_model_folder_is_named_in_full(workplace: Path) -> None:
    with packed("g.yaml", ("model=./my-model",)) as folder:
        grid = json.loads((folder / GRID_FILE).read_text())
    assert {entry["model"] for entry in grid["grids"]} == {str(workplace / "my-model")}


@pytest.mark.parametrize("uri", ["s3://bucket/path", "gs://bucket/path", "/shared/results"])
def test_a_store_that_outlives_the_job_is_taken(uri: str) -> None:
    check_store(uri)


@pytest.mark.parametrize("uri", ["results", "./results", "../r"])
def test_a_store_in_the_jobs_scratch_folder_is_refused(uri: str) -> None:
    with pytest.raises(UsageError, match="absolute path on the head"):
        check_store(uri)


def test_launch_options_are_passed_on_as_they_were_given() -> None:
    options = {
        "limit": 5,
        "max_attempts": 2,
        "fail_fast": True,
        "retry_failed": False,
        "remeasure": False,
        "notify": None,
    }
    parts = [part for name, value in options.items() for part in _argument(name, value)]
    assert parts == ["--limit", "5", "--max-attempts", "2", "--fail-fast", "--skip-failed"]


def test_an_address_of_no_head_is_said_in_one_line(workplace: Path) -> None:
    result = submit("--store", str(workplace / "s"), "--address", "http://127.0.0.1:9")
    assert result.exit_code == 1
    (line,) = result.stderr.strip().splitlines()
    assert "no Ray job server answers" in line
    assert "ray dashboard" in line


def test_a_wrong_grid_is_refused_before_anything_is_sent(workplace: Path) -> None:
    result = submit("--store", "/s", "--set", "method=streming", "--address", "http://127.0.0.1:9")
    assert result.exit_code == 2
    assert "did you mean 'streaming'" in result.stderr


def test_a_driver_that_ends_at_once_is_no_success(workplace: Path, head: str) -> None:
    (workplace / "no-folder").write_text("a file")
    command = [sys.executable, "-m", "orchestrator.cli", "submit", "--grid", "g.yaml"]
    places = ["--address", head, "--python", sys.executable]
    for arguments, words in (
        (["--store", str(workplace / "no-folder"), *places], "no-folder"),
        (["--store", "/s", "--address", head, "--python", "no-such-python"], "no-such-python"),
    ):
        done = subprocess.run(
            [*command, *arguments],
            env={**os.environ, "RAY_AUTH_MODE": "token", "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        last = done.stderr.strip().splitlines()[-1]
        assert "has ended at once" in last
        assert words in last
