"""The command line as a whole: help, weight, exit codes, messages, documentation."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from orchestrator.cli import sweep as command
from orchestrator.progress.notify import Notifier
from orchestrator.progress.snapshot import Silent, Snapshot
from orchestrator.store.store import Store
from tests.support.cli_reference import FILE, reference
from tests.support.sweeps import GRID, ok_run_ids, row

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "transformers", "ray", "datasets", "pyarrow", "pandas", "numpy", "pydantic")
TOO_LONG_A_WORD = {"dataset": "file:empty.txt", "method": "dense"}


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "g.yaml").write_text(json.dumps(GRID))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments))


def launch(*arguments: str) -> Result:
    return run("launch", "--grid", "g.yaml", "--store", "store", "--inline", *arguments)


def process(*arguments: str, **options: Any) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "orchestrator.cli", *arguments],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


@pytest.mark.parametrize("name", [None, *command.commands])
def test_help_is_there_and_loads_nothing_heavy(name: str | None) -> None:
    arguments = ["--help"] if name is None else [name, "--help"]
    code = (
        "import sys\nfrom orchestrator.cli import sweep\n"
        f"try:\n    sweep({arguments!r}, prog_name='sweep')\n"
        f"except SystemExit as end:\n    print(end.code, sorted(set({HEAVY}) & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[-1] == "0 []", done.stderr
    assert done.stdout.startswith(f"Usage: sweep {name or '[OPTIONS]'}")


def test_every_command_and_option_has_help() -> None:
    assert set(command.commands) == {
        *("launch", "plan", "status", "watch", "results", "cancel", "compact"),
        *("submit", "fetch", "doctor", "cluster-file", "init"),
    }
    for name, one in command.commands.items():
        assert one.help, name
        for option in one.params:
            assert isinstance(option, click.Option)
            assert option.help, f"{name} {option.opts}"


def test_the_reference_of_the_commands_is_up_to_date() -> None:
    assert FILE.read_text() == reference(), "run: python -m tests.support.cli_reference"


def test_a_launch_ends_with_a_summary_and_zero(workplace: Path) -> None:
    result = launch()
    assert result.exit_code == 0, result.output
    assert "s: 2 of 2 evaluations are in store (2 run now)" in result.stdout
    assert "analysis plot --store store" in result.stdout
    again = launch()
    assert again.exit_code == 0
    assert "(0 run now, 2 done before)" in again.stdout


def test_standard_output_is_one_json_object_where_asked(workplace: Path) -> None:
    found = json.loads(launch("--json").stdout)
    assert (found["ok"], found["total"], found["exit_code"], found["store"]) == (2, 2, 0, "store")


def test_a_failed_evaluation_ends_with_one_and_its_reason(workplace: Path) -> None:
    (workplace / "empty.txt").write_text("")
    grid = {**GRID, "grids": [*GRID["grids"], TOO_LONG_A_WORD]}
    (workplace / "g.yaml").write_text(json.dumps(grid))
    result = launch("--max-attempts", "1")
    assert result.exit_code == 1
    assert "2 of 3 evaluations" in result.stdout
    assert "failed (invalid), random:tiny-neox" in result.stdout
    assert len(ok_run_ids(Store(workplace / "store"))) == 2
    status = run("status", "--store", "store").output
    assert "1 evaluation:" in status
    skipped = launch("--skip-failed")
    assert skipped.exit_code == 1
    assert "1 skipped" in skipped.stdout


def test_a_limit_leaves_the_rest_for_later(workplace: Path) -> None:
    assert launch("--limit", "1").exit_code == 1
    assert len(ok_run_ids(Store(workplace / "store"))) == 1
    assert launch().exit_code == 0
    assert len(ok_run_ids(Store(workplace / "store"))) == 2


def test_what_is_done_is_measured_again_only_on_demand(workplace: Path) -> None:
    launch()
    launch("--remeasure")
    assert Store(workplace / "store").trials().num_rows == 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["launch"], ["--grid"]),
        (["launch", "--grid", "g.yaml", "--limit", "0"], ["--limit", "0"]),
        (["launch", "--grid", "g.yaml", "--max-attempts", "x"], ["--max-attempts", "'x'"]),
        (["launch", "--grid", "g.yaml", "--inline", "--local"], ["--inline and --local"]),
        (
            ["launch", "--grid", "g.yaml", "--inline", "--notify", "example.org"],
            ["--notify", "http://", "'example.org'"],
        ),
        (["launch", "--grid", "g.yaml", "--inline", "--store", "g.yaml"], ["g.yaml is a file"]),
        (["launch", "--grid", "g.yaml", "--inline", "--store", "ftp://x"], ["ftp://x", "s3://"]),
        (
            ["launch", "--grid", "g.yaml", "--inline", "--set", "resources.gpus=1"],
            ["GPU", "--set resources.gpus=0"],
        ),
        (["launch", "--grid", "g.yaml", "--address", "ray://h:1"], ["ray://h:1", "sweep submit"]),
        (["plan", "--grid", "g.yaml", "--price", "-1"], ["--price"]),
        (["plan", "--grid", "quickstar"], ["did you mean 'quickstart'"]),
        (["submit", "--grid", "g.yaml"], ["--store"]),
        (["submit", "--grid", "g.yaml", "--store", "results"], ["absolute path on the head"]),
        (["status", "--store", "g.yaml"], ["g.yaml is a file"]),
        (["fetch"], ["--from"]),
        (["fetch", "--from", "x", "--cluster", "no.yaml"], ["no.yaml"]),
        (["lanch"], ["lanch"]),
    ],
)
def test_a_wrong_command_ends_with_two_a_reason_and_nothing_written(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert all(word in result.stderr for word in words), result.stderr
    assert "Traceback" not in result.output
    assert [path.name for path in workplace.iterdir()] == ["g.yaml"]


def test_an_address_of_no_cluster_is_said_in_one_line(workplace: Path) -> None:
    result = run("launch", "--grid", "g.yaml", "--address", "127.0.0.1:9")
    assert result.exit_code == 1
    _plan, line = result.stderr.strip().splitlines()
    assert "no Ray cluster answers" in line
    assert "--local" in line
    assert [path.name for path in workplace.iterdir()] == ["g.yaml"]


def test_a_store_of_a_newer_version_is_said_in_one_line(workplace: Path) -> None:
    Store("store").append_trials([row(1, schema_version=99)])
    result = launch()
    assert result.exit_code == 1
    (line,) = result.stderr.strip().splitlines()
    assert "newer" in line


def test_a_store_that_cannot_be_written_is_said(workplace: Path) -> None:
    (workplace / "store").mkdir()
    (workplace / "store" / "drivers").write_text("in the way")  # also in the way of root
    result = launch()
    assert result.exit_code == 1
    _plan, line = result.stderr.strip().splitlines()
    assert "drivers: cannot be written" in line


def test_ctrl_c_stops_cleanly_and_the_same_command_continues(workplace: Path) -> None:
    seeds = list(range(400))
    grid = {**GRID, "grids": [{"method": "streaming", "window_size": 16, "seed": seeds}]}
    (workplace / "g.yaml").write_text(json.dumps(grid))
    with process("launch", "--grid", "g.yaml", "--inline", "--store", "store") as running:
        store = Store(workplace / "store")
        deadline = time.monotonic() + 120
        while not store.storage.names("trials") and time.monotonic() < deadline:
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        stdout, stderr = running.communicate(timeout=60)
    done = len(ok_run_ids(store))
    assert running.returncode == 130, stderr
    assert "the same command continues from here" in stdout
    assert f"s: {done} of 400" in stdout
    assert 0 < done < 400
    assert launch("--limit", "3").exit_code == 1
    assert len(ok_run_ids(store)) == done + 3


def test_doctor_finds_this_machine_ready(workplace: Path) -> None:
    result = run("doctor", "--store", "store", "--no-hub", "--json")
    found = json.loads(result.stdout)
    states = {check["name"]: check["state"] for check in found["checks"]}
    assert {"python", "torch", "ray", "device", "store", "demo model"} <= set(states)
    assert found["ready"]
    assert result.exit_code == 0
    assert [path.name for path in workplace.iterdir()] == ["g.yaml"]


def test_doctor_fails_where_the_store_cannot_be(workplace: Path) -> None:
    result = run("doctor", "--store", "g.yaml", "--no-hub")
    assert result.exit_code == 1
    assert "FAILED   store: --store g.yaml" in result.output


def test_doctor_shows_how_strong_a_sink_is() -> None:
    found = json.loads(run("doctor", "--model", "random:tiny-neox", "--json").stdout)
    assert found["dataset"] == "random"
    assert len(found["by_layer"]) == 2
    assert 0 < found["mean_attention"] < 1
    text = run("doctor", "--model", "random:tiny-neox").output
    assert "of the heads pay more than 30%" in text


def test_a_model_that_cannot_be_found_is_said_in_one_line() -> None:
    result = run("doctor", "--model", "./missing")
    assert result.exit_code == 1
    assert "missing" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server that takes JSON, and what it was sent."""
    taken: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            taken.append(json.loads(self.rfile.read(length)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            """Keep quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/hook", taken
    server.shutdown()


def test_one_message_is_posted_at_the_end(
    workplace: Path, webhook: tuple[str, list[dict[str, Any]]]
) -> None:
    url, taken = webhook
    assert launch("--notify", url).exit_code == 0
    (message,) = taken
    assert message["event"] == "end"
    assert (message["sweep"], message["done"], message["total"]) == ("s", 2, 2)


def test_one_message_is_posted_at_the_first_failure(
    workplace: Path, webhook: tuple[str, list[dict[str, Any]]]
) -> None:
    (workplace / "empty.txt").write_text("")
    failing = {**GRID, "grids": [{**TOO_LONG_A_WORD, "max_tokens": [80, 90]}]}
    (workplace / "g.yaml").write_text(json.dumps(failing))
    url, taken = webhook
    assert launch("--notify", url, "--max-attempts", "1").exit_code == 1
    (message,) = taken
    assert message["event"] == "failure"
    assert "empty.txt" in message["failure"]


def test_one_message_is_posted_where_a_launch_breaks_off(
    workplace: Path, webhook: tuple[str, list[dict[str, Any]]]
) -> None:
    url, taken = webhook
    display = Notifier(url, Silent())
    display.update(Snapshot.from_json({"sweep": "s", "total": 9, "ok": 3, "state": "running"}))
    assert taken == []
    display.close()
    (message,) = taken
    assert (message["event"], message["done"], message["total"]) == ("aborted", 3, 9)


def test_a_webhook_that_does_not_answer_does_not_disturb(workplace: Path) -> None:
    result = launch("--notify", "http://127.0.0.1:9/hook")
    assert result.exit_code == 0
    assert "did not take the message" in result.stderr


def test_compact_merges_and_says_so(workplace: Path) -> None:
    store = Store("store")
    for seed in range(5):
        store.append_trials([row(seed)])
    result = run("compact", "--store", "store")
    assert result.exit_code == 0, result.output
    assert "5 files, now 1" in result.output
    assert len(ok_run_ids(store)) == 5
