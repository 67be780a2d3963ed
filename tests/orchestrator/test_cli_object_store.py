"""The commands against a store in a bucket: launch, plan, status, results, cancel, fetch."""

import json
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from click.testing import CliRunner, Result

from orchestrator.cli import sweep as command
from orchestrator.store.store import Store
from tests.orchestrator.reports.test_status import driver
from tests.support.flaky_s3 import BUCKET, FlakyS3, flaky_s3
from tests.support.sweeps import GRID, ok_run_ids

URI = f"s3://{BUCKET}/a/store"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[FlakyS3]:
    with flaky_s3() as endpoint:
        for name, value in endpoint.environment.items():
            monkeypatch.setenv(name, value)
        url = endpoint.environment["AWS_ENDPOINT_URL"]
        boto3.client("s3", endpoint_url=url).create_bucket(Bucket=BUCKET)
        yield endpoint


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(command, list(arguments))
    assert result.exit_code == 0, result.output
    return result


def test_a_sweep_lives_in_a_bucket_from_plan_to_fetch(
    s3: FlakyS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("g.yaml").write_text(json.dumps(GRID))
    here = ["--grid", "g.yaml", "--store", URI]
    assert "2 to run" in run("plan", *here).output
    run("launch", *here, "--inline")
    assert "2 done" in run("plan", *here).output
    assert len(json.loads(run("results", "--store", URI, "--format", "json").stdout)) == 2
    driver(Store(URI), "w")
    assert "driver w" in run("status", "--store", URI).output
    assert "asked the driver of s" in run("cancel", "--store", URI).output
    ready = json.loads(run("doctor", "--store", URI, "--no-hub", "--json").stdout)
    assert {"name": "store", "state": "ok", "message": f"{URI} can be written"} in ready["checks"]
    assert "copied to local" in run("fetch", "--from", URI, "--store", "local").output
    assert ok_run_ids(Store("local")) == ok_run_ids(Store(URI))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["g.yaml", "local"]


def test_a_bucket_that_does_not_exist_is_said_before_anything_runs(
    s3: FlakyS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("g.yaml").write_text(json.dumps(GRID))
    arguments = ["launch", "--grid", "g.yaml", "--inline", "--store", "s3://no-such-bucket/x"]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 1
    plan, line = result.stderr.strip().splitlines()
    assert "2 to run" in plan
    assert line.startswith("Error: ")
    assert "no-such-bucket" in line
