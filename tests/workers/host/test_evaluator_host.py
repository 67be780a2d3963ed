import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.sweeps import spec
from workers.contract.events import Assignment, Evaluation, Finished, Progress
from workers.host import evaluator_host
from workers.host.evaluator_host import EvaluatorHost
from workers.host.output_capture import OutputCapture

CRASHING = "tests.support.crashing_evaluator:CrashingEvaluator"
ROOT = Path(__file__).resolve().parents[3]


class Silent:
    """Returns nothing."""

    def columns(self) -> dict[str, object]:
        return {}

    def run(self, assignment: Assignment) -> Evaluation:
        yield from ()
        return {}


def assignments(*seeds: int) -> list[Assignment]:
    return [Assignment(spec=spec(seed), sweep="s") for seed in seeds]


def finished(batch: evaluator_host.Batch) -> list[int]:
    return [event.row["seed"] for _, event in batch.events if isinstance(event, Finished)]


def test_one_call_runs_everything_it_has_time_for() -> None:
    batch = EvaluatorHost(CRASHING, {}).work(assignments(1, 2, 3), max_seconds=30)
    assert (finished(batch), batch.under_way) == ([1, 2, 3], None)


def test_a_call_returns_in_time_and_gives_back_what_it_did_not_start() -> None:
    host = EvaluatorHost(CRASHING, {"seconds": 0.5})
    batch = host.work(assignments(1, 2, 3), max_seconds=0.1)
    assert finished(batch) == []
    assert any(isinstance(event, Progress) for _, event in batch.events)
    assert batch.under_way == spec(1).run_id
    assert finished(host.work([], max_seconds=30)) == [1]


@pytest.mark.parametrize(
    ("act", "kind", "usable"),
    [
        ("oom", "cuda_oom", False),
        ("cuda", "device", False),
        ("error", "error", True),
        ("model_load", "model_load", True),
        ("unsupported", "invalid", True),
        ("numerical", "numerical", True),
    ],
)
def test_the_host_decides_with_the_exception_in_hand_and_stops_after_a_spoiled_evaluator(
    act: str, kind: str, usable: bool
) -> None:
    host = EvaluatorHost(CRASHING, {"script": {"1": [act]}})
    batch = host.work(assignments(1, 2), max_seconds=30)
    (first, *_) = [event for _, event in batch.events if isinstance(event, Finished)]
    assert (first.row["error_kind"], first.evaluator_usable) == (kind, usable)
    assert finished(batch) == ([1, 2] if usable else [1])
    assert batch.under_way is None


def test_an_evaluator_that_raises_still_gives_a_complete_failed_row() -> None:
    host = EvaluatorHost(CRASHING, {"script": {"1": ["error"]}}, columns={"node_id": "n1"})
    (row,) = [e.row for _, e in host.work(assignments(1), 30).events if isinstance(e, Finished)]
    assert (row["status"], row["error_type"], row["node_id"]) == ("failed", "ValueError", "n1")
    assert row["run_id"] == spec(1).run_id
    assert "broken on purpose" in row["traceback"]


def test_an_evaluator_that_ends_without_a_result_has_failed() -> None:
    (event,) = EvaluatorHost(f"{__name__}:Silent", {}).events(assignments(1)[0])
    assert isinstance(event, Finished)
    assert event.row["error_kind"] == "error"
    assert "ended without a result" in str(event.row["error_message"])


def test_a_quiet_fast_evaluation_leaves_no_log(tmp_path: Path) -> None:
    host = EvaluatorHost(CRASHING, {}, log_folder=str(tmp_path))
    host.work(assignments(1, 2), 30)
    assert list(tmp_path.iterdir()) == []


def test_output_of_native_code_is_kept_and_the_streams_come_back(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path\n"
        "from workers.host.output_capture import OutputCapture\n"
        "with OutputCapture(Path(sys.argv[1])) as capture:\n"
        "    os.write(1, b'native\\n'); print('python'); print('error', file=sys.stderr)\n"
        "print('after', capture.kept == sys.argv[1])\n"
    )
    log = tmp_path / "logs" / "x.log"
    done = subprocess.run(
        [sys.executable, "-c", code, str(log)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("after True\n", "")
    assert sorted(log.read_text().split()) == ["error", "native", "python"]


def test_a_log_folder_that_cannot_be_written_does_not_fail_an_evaluation(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with OutputCapture(tmp_path / "file" / "logs" / "x.log") as capture:
        os.write(1, b"kept elsewhere\n")
    assert capture.kept is not None
    assert Path(capture.kept).read_text() == "kept elsewhere\n"
    Path(capture.kept).unlink()
