import io
from typing import Any

import pytest
from rich.console import Console

from orchestrator.progress.display import (
    PLAIN_INTERVAL,
    STILL_INTERVAL,
    LiveProgress,
    PlainProgress,
    describe_row,
    duration,
    progress_for,
    rate,
    render_progress,
    state_line,
)
from orchestrator.progress.snapshot import LONGEST_NAME, Running, Snapshot, shortened
from workers.contract.events import Progress


def snapshot(**changes: Any) -> Snapshot:
    running = Running(
        run_id="r1",
        label="demo pydoc streaming 4+64",
        progress=Progress(
            phase="quality",
            documents_done=1,
            documents_total=3,
            tokens_done=2048,
            tokens_total=9000,
            perplexity=12.3456,
        ),
    )
    values: dict[str, Any] = {
        "sweep": "ablations",
        "total": 20,
        "done_before": 3,
        "done_elsewhere": 1,
        "ok": 5,
        "failed": 2,
        "skipped": 0,
        "waiting": 8,
        "running": (running,),
        "per_second": 0.5,
        "seconds_left": 130.0,
        "latest": {"model": "demo", "method": "dense", "status": "ok", "perplexity": 7.0},
    }
    return Snapshot(**values | changes)


def test_a_pipe_gets_plain_lines() -> None:
    stream = io.StringIO()
    display = progress_for(stream)
    assert isinstance(display, PlainProgress)
    display.update(snapshot())
    line = stream.getvalue()
    assert line.count("\n") == 1
    assert "\x1b" not in line
    for part in ("9/20 done", "1 running", "2 failed", "30.0/min", "2 min 10 s left"):
        assert part in line
    assert "perplexity 7.000" in line


def test_plain_lines_are_not_repeated_while_nothing_ends() -> None:
    now = [1000.0]
    stream = io.StringIO()
    display = PlainProgress(stream, clock=lambda: now[0])
    for ok in (5, 5, 6, 6):
        display.update(snapshot(ok=ok))
        now[0] += PLAIN_INTERVAL
    assert stream.getvalue().count("\n") == 2
    now[0] += STILL_INTERVAL
    display.update(snapshot(ok=6))
    display.update(snapshot(ok=6, state="ended"))
    assert stream.getvalue().count("\n") == 4


def test_a_failed_attempt_is_told_at_once_in_one_line() -> None:
    stream = io.StringIO()
    row = {
        "model": "demo",
        "dataset": "pydoc",
        "method": "dense",
        "status": "failed",
        "error_kind": "cuda_oom",
        "error_message": "out of memory\nTried to allocate",
    }
    PlainProgress(stream).row(row)
    assert stream.getvalue() == "demo pydoc dense: failed (cuda_oom): out of memory\n"
    assert describe_row({**row, "error_message": None}).endswith("failed (cuda_oom): ")


def test_a_terminal_gets_a_display_with_what_is_running() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    display = LiveProgress(console)
    display.update(snapshot())
    display.close()
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "ablations: 9/20 done" in shown
    assert "quality 2,048/9,000 tokens, 1/3 documents, perplexity 12.346" in shown


@pytest.mark.parametrize(
    ("per_second", "text"), [(800.0, "800.0/s"), (0.5, "30.0/min"), (0.001, "3.6/h")]
)
def test_rates_are_told_in_the_unit_that_reads_best(per_second: float, text: str) -> None:
    assert rate(per_second) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(9.4, "9 s"), (75, "1 min 15 s"), (7260, "2 h 01 min")]
)
def test_times_are_told_in_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_long_evaluation_is_described_in_plain_lines_and_in_the_display() -> None:
    timing = Progress(
        phase="latency",
        documents_done=0,
        documents_total=0,
        tokens_done=300,
        tokens_total=768,
        perplexity=12.3456,
        repeat=2,
        repeats=3,
    )
    state = snapshot(running=(Running(run_id="r1", label="demo pydoc", progress=timing),))
    assert "demo pydoc: latency repeat 2/3, 300/768 steps, perplexity 12.346" in state_line(state)
    text = drawn(state, width=80)
    assert "latency repeat 2/3, 300/768 steps, perplexity 12.346" in text


@pytest.mark.parametrize("width", [40, 80])
def test_in_a_narrow_terminal_nothing_that_counts_is_cut(width: int) -> None:
    text = " ".join(drawn(snapshot(), width=width).split())
    for part in ("9/20 done", "2 min 10 s left", "2,048/9,000 tokens", "perplexity 12.346"):
        assert part in text


def drawn(state: Snapshot, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(render_progress(state))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_cause_is_told_once() -> None:
    stream = io.StringIO()
    display = PlainProgress(stream)
    message = "the model does not load\nbecause of this"
    for model in ("one", "two"):
        name = {"model": model, "dataset": "pydoc", "method": "dense"}
        row = {**name, "status": "failed", "error_kind": "model_load", "error_message": message}
        display.row(row)
    assert stream.getvalue() == (
        "one pydoc dense: failed (model_load): the model does not load\n"
        "two pydoc dense: failed (model_load), for the same reason\n"
    )


def test_long_paths_lose_their_start() -> None:
    name = "file:/somewhere/far/away/in/a/deep/folder/of/texts/novel.txt"
    assert shortened(name).startswith("file:…")
    assert shortened(name).endswith("/of/texts/novel.txt")
    assert len(shortened(name)) == LONGEST_NAME
    assert shortened("EleutherAI/pythia-70m") == "EleutherAI/pythia-70m"
