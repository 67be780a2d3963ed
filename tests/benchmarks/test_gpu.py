"""The GPU run in its smoke mode, the tables that come from its files, and the checks themselves."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from benchmarks import gpu, tables
from benchmarks.checks import DTYPES, Check, all_checks
from benchmarks.gpu import Part, run_parts
from workers.attention.visibility import Visibility

NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
RUN = {"device": "Some GPU", "date": "2026-11-25", "torch": "2.11.0", "smoke": False}


def test_the_smoke_run_measures_every_part_that_it_reaches(tmp_path: Path) -> None:
    path = tmp_path / "smoke.json"
    names = [f"--only={name}" for name in ("checks", "nll", "decode pythia")]
    command = [sys.executable, "-m", "benchmarks.gpu", "--smoke", f"--out={path}", *names]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    file = json.loads(path.read_text())
    assert {part["part"]: part["status"] for part in file["parts"]} == {
        "checks": "ok",
        "decode pythia-70m": "ok",
        "nll pythia-70m": "ok",
    }
    # Real sizes give the same figures: every row of the table finds its own.
    file["smoke"] = False
    reached = [row for row in tables.ROWS if row.part in {p["part"] for p in file["parts"]}]
    assert [row.what for row in reached if tables.cell(row, file) == tables.NOT_MEASURED] == []


def test_every_row_of_the_table_belongs_to_a_part() -> None:
    assert {row.part for row in tables.ROWS} <= {part.name for part in gpu.PARTS}


def test_the_tables_of_the_docs_are_those_of_the_committed_files() -> None:
    done = CliRunner().invoke(tables.main, ["--check"])
    assert done.exit_code == 0, done.output


def test_without_a_file_nothing_is_claimed() -> None:
    lines = tables.table([]).splitlines()[2:]
    assert all(line.endswith("| not measured |") for line in lines)


def test_a_figure_is_written_with_the_device_and_the_date() -> None:
    part = {"part": "decode pythia-70m", "status": "ok", "figures": {"ring_ms": 0.1234}}
    late = {"part": "nll pythia-70m", "status": "not reached"}
    text = tables.table([{**RUN, "parts": [part, late]}])
    assert "Some GPU, 2026-11-25, torch 2.11.0" in text
    assert "| decode step, pythia-70m shape, 4 + 1024 | <= 0.25 ms | 0.123 ms |" in text
    assert "| loop / parallel pass |  | not measured (not reached) |" in text


def test_a_smoke_run_makes_no_table() -> None:
    with pytest.raises(ValueError, match="smoke"):
        tables.table([{**RUN, "smoke": True, "parts": []}])


def test_a_part_that_fails_or_hangs_costs_no_other() -> None:
    code = {"fails": "import sys; sys.exit('no luck')", "hangs": "import time; time.sleep(60)"}
    parts = [
        Part(name=name, module="timeit", arguments=("-n1", "-r1", text), seconds=2)
        for name, text in code.items()
    ]
    parts.append(Part(name="late", module="timeit", arguments=(), package="no-such-package"))
    found = {one["part"]: one for one in run_parts(parts, 60, smoke=False)}
    assert {name: one["status"] for name, one in found.items()} == {
        "fails": "failed",
        "hangs": "timeout",
        "late": "skipped",
    }
    assert "no luck" in found["fails"]["reason"]


def test_what_there_was_no_time_for_is_written_down() -> None:
    (found,) = run_parts([Part(name="a", module="timeit", arguments=())], 0, smoke=False)
    assert found["status"] == "not reached"


def test_a_real_run_needs_a_gpu_and_a_smoke_run_a_place() -> None:
    if not torch.cuda.is_available():
        assert "no CUDA GPU" in CliRunner().invoke(gpu.main, []).output
    assert "--out" in CliRunner().invoke(gpu.main, ["--smoke"]).output


def test_a_check_beyond_its_limit_has_not_passed() -> None:
    assert not Check("x", float("inf"), 1.0).passed
    assert not Check("x", float("nan"), 1.0).passed
    assert Check("x", None, 1.0).passed


@pytest.mark.cuda
@NEEDS_GPU
@pytest.mark.parametrize("model", ["demo", "random:tiny-llama"])
def test_on_a_gpu_every_check_passes_in_every_dtype(model: str) -> None:
    found = list(all_checks((model,), Visibility(4, 60), 257))
    assert len(found) == 4 * len(DTYPES)
    assert [check for check in found if not check.passed] == []
