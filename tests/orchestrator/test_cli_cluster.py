"""`sweep plan` and `sweep doctor` looking at a real cluster of mixed GPUs, which are not there."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAD = """
import sys, ray
from orchestrator.cluster.connection import protect_token
protect_token()
context = ray.init(address="local", num_cpus=2, num_gpus=2, include_dashboard=False,
                   resources={"accelerator_type:A100": 1, "accelerator_type:T4": 1},
                   object_store_memory=80_000_000, log_to_driver=False)
print(context.address_info["gcs_address"], flush=True)
sys.stdin.read()
"""
GRID = {
    "sweep": "s",
    "defaults": {"model": "random:tiny-neox", "dataset": "random", "max_tokens": 80},
    "grids": [{"method": "streaming"}],
}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A cluster that ends with the tests of this file."""
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    with subprocess.Popen(
        [sys.executable, "-c", HEAD],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.communicate()


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "g.yaml").write_text(json.dumps(GRID))
    return subprocess.run(
        [sys.executable, "-m", "orchestrator.cli", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "token"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_cluster_of_several_kinds_is_warned_about(address: str, tmp_path: Path) -> None:
    done = run(tmp_path, "plan", "--grid", "g.yaml", "--store", "none", "--address", address)
    assert done.returncode == 0, done.stderr
    assert "warning: the cluster mixes accelerators (A100, T4)" in done.stdout
    assert "--set resources.accelerator=TYPE" in done.stdout


def test_what_the_cluster_does_not_have_is_refused_by_the_plan(
    address: str, tmp_path: Path
) -> None:
    wanted = ["--set", "resources.gpus=1", "--set", "resources.accelerator=H100"]
    done = run(
        tmp_path, "plan", "--grid", "g.yaml", "--store", "none", "--address", address, *wanted
    )
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert "H100" in line
    assert "A100, T4" in line


def test_doctor_describes_the_cluster(address: str, tmp_path: Path) -> None:
    done = run(tmp_path, "doctor", "--store", "none", "--no-hub", "--address", address)
    assert done.returncode == 0, done.stdout
    last = done.stdout.strip().splitlines()[-1]
    assert "; 1 node, 2 CPUs, 2 GPUs, accelerators: A100, T4" in last
