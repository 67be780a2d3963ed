import json
import os
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.driver.loop import LaunchOptions, run_sweep
from orchestrator.errors import ClusterError, StoreError
from orchestrator.executors.base import Happened, Update
from orchestrator.executors.inline import InlineExecutor
from orchestrator.progress.snapshot import Running, Snapshot
from orchestrator.store import group_commit
from orchestrator.store.heartbeats import read_drivers, request_cancel
from orchestrator.store.store import Store
from orchestrator.sweep import PlannedEvaluation, Sweep
from tests.support.crashing_evaluator import span
from tests.support.sweeps import Listening, ok_run_ids, row, run_ids, spec, sweep_of
from workers.contract.events import Assignment, Finished, Progress

CRASHING = "tests.support.crashing_evaluator:CrashingEvaluator"


def launch(
    sweep: Sweep, root: Path, options: LaunchOptions | None = None, **evaluator: Any
) -> tuple[Snapshot, Listening]:
    listener = Listening()
    executor = InlineExecutor(evaluator=CRASHING, options=evaluator)
    quick = replace(options or LaunchOptions(), first_delay=0.01)
    return run_sweep(sweep, Store(root), executor, quick, listener), listener


def failed_rows(root: Path) -> list[dict[str, Any]]:
    rows = Store(root).trials().to_pylist()
    return sorted((r for r in rows if r["status"] == "failed"), key=lambda r: r["attempt"])


def test_every_evaluation_ends_in_the_store(tmp_path: Path) -> None:
    summary, listener = launch(sweep_of(20), tmp_path)
    assert ok_run_ids(Store(tmp_path)) == run_ids(sweep_of(20))
    assert (summary.total, summary.ok, summary.failed, summary.exit_code) == (20, 20, 0, 0)
    assert len(listener.rows) == 20
    assert listener.snapshots[-1].state == "ended"
    assert read_drivers(Store(tmp_path).storage) == {}


def test_a_second_launch_runs_nothing(tmp_path: Path) -> None:
    launch(sweep_of(5), tmp_path)
    summary, _ = launch(sweep_of(5), tmp_path)
    assert (summary.done_before, summary.attempts, summary.exit_code) == (5, 0, 0)
    assert Store(tmp_path).trials().num_rows == 5


def test_a_grown_grid_runs_only_what_is_new(tmp_path: Path) -> None:
    launch(sweep_of(5), tmp_path)
    summary, _ = launch(sweep_of(8), tmp_path)
    assert (summary.done_before, summary.ok) == (5, 3)


def test_remeasure_runs_everything_again(tmp_path: Path) -> None:
    launch(sweep_of(3), tmp_path)
    summary, _ = launch(sweep_of(3), tmp_path, LaunchOptions(remeasure=True))
    assert (summary.ok, summary.exit_code) == (3, 0)
    assert Store(tmp_path).trials().num_rows == 6


def test_a_failing_evaluation_never_stops_the_others(tmp_path: Path) -> None:
    summary, _ = launch(sweep_of(5), tmp_path, script={"2": ["error"] * 9})
    assert (summary.ok, summary.failed, summary.exit_code) == (4, 1, 1)
    (failure,) = summary.failures
    assert (failure.run_id, failure.kind) == (spec(2).run_id, "error")
    rows = failed_rows(tmp_path)
    assert [r["attempt"] for r in rows] == [1, 2, 3]
    assert all("broken on purpose" in r["traceback"] for r in rows)
    assert {r["error_kind"] for r in rows} == {"error"}


def test_an_evaluation_that_fails_once_is_run_again(tmp_path: Path) -> None:
    summary, _ = launch(sweep_of(3), tmp_path, script={"1": ["error"]})
    assert (summary.ok, summary.failed, summary.exit_code) == (3, 0, 0)
    assert len(failed_rows(tmp_path)) == 1


@pytest.mark.parametrize("act", ["numerical", "unsupported"])
def test_what_cannot_succeed_is_tried_once(tmp_path: Path, act: str) -> None:
    summary, _ = launch(sweep_of(2), tmp_path, script={"0": [act] * 9})
    assert (summary.ok, summary.failed, len(failed_rows(tmp_path))) == (1, 1, 1)


def test_after_out_of_memory_one_retry_has_half_the_chunk(tmp_path: Path) -> None:
    launch(sweep_of(1), tmp_path, script={"0": ["oom"]})
    (ok,) = Store(tmp_path).results(["chunk_size", "attempt"]).to_pylist()
    assert ok == {"chunk_size": 256, "attempt": 2}


def test_out_of_memory_twice_is_given_up(tmp_path: Path) -> None:
    summary, _ = launch(sweep_of(1), tmp_path, script={"0": ["oom"] * 9})
    assert (summary.failed, len(failed_rows(tmp_path))) == (1, 2)
    assert summary.failures[0].kind == "cuda_oom"


def test_a_model_that_does_not_load_fails_all_its_evaluations_fast(tmp_path: Path) -> None:
    good, bad = sweep_of(3), sweep_of(40, model="gpt-missing")
    both = Sweep("test", good.resources, (*bad.evaluations, *good.evaluations), 0)
    script = {str(seed): ["model_load"] * 9 for seed in range(3, 40)}
    script |= {"0": ["ok"], "1": ["ok"], "2": ["ok"]}
    summary, _ = launch(both, tmp_path, LaunchOptions(max_attempts=2), script=script)
    assert (summary.ok + summary.failed, summary.failed) == (43, 37)
    rows = failed_rows(tmp_path)
    tried = [r for r in rows if not r["error_message"].startswith("not run")]
    assert len(tried) == 2
    assert {r["error_kind"] for r in rows} == {"model_load"}


class ClusterThatGoes(InlineExecutor):
    """Tells of a number of results, all at once, and is then gone."""

    left = 3

    def wait(self, timeout: float) -> Sequence[Update]:
        if self.left == 0:
            raise ClusterError("gone")
        updates: list[Update] = []
        while not any(isinstance(each, Happened) and ended(each) for each in updates):
            updates += super().wait(timeout)
        self.left -= 1
        return updates


def ended(update: Happened) -> bool:
    return isinstance(update.event, Finished)


def test_what_had_finished_is_kept_when_the_cluster_goes(tmp_path: Path) -> None:
    listener, executor = Listening(), ClusterThatGoes(evaluator=CRASHING)
    with pytest.raises(ClusterError, match="gone"):
        run_sweep(sweep_of(9), Store(tmp_path), executor, LaunchOptions(), listener)
    assert len(listener.rows) == 3
    assert ok_run_ids(Store(tmp_path)) == sorted(row["run_id"] for row in listener.rows)
    assert read_drivers(Store(tmp_path).storage) == {}


def test_fail_fast_stops_at_the_first_failure(tmp_path: Path) -> None:
    options = LaunchOptions(fail_fast=True, max_attempts=1)
    summary, _ = launch(sweep_of(50), tmp_path, options, script={"3": ["error"]})
    assert (summary.failed, summary.exit_code, summary.interrupted) == (1, 1, False)
    assert summary.not_run > 30


def test_skip_failed_leaves_failures_alone_and_still_reports_them(tmp_path: Path) -> None:
    launch(sweep_of(3), tmp_path, LaunchOptions(max_attempts=1), script={"1": ["error"]})
    skipped, _ = launch(sweep_of(4), tmp_path, LaunchOptions(skip_failed=True))
    assert (skipped.ok, skipped.skipped, skipped.exit_code) == (1, 1, 1)
    retried, _ = launch(sweep_of(4), tmp_path)
    assert (retried.ok, retried.exit_code) == (1, 0)


def test_a_limit_runs_so_many_and_says_that_some_are_left(tmp_path: Path) -> None:
    summary, _ = launch(sweep_of(9), tmp_path, LaunchOptions(limit=4))
    assert (summary.ok, summary.skipped, summary.exit_code) == (4, 5, 1)


def test_higher_priority_runs_first_then_cheap_comparisons(tmp_path: Path) -> None:
    planned = [
        PlannedEvaluation(spec(1, max_tokens=5000), 0, 0),
        PlannedEvaluation(spec(2, max_tokens=50), 0, 0),
        PlannedEvaluation(spec(3, max_tokens=700, method="recompute"), 0, 0),
        PlannedEvaluation(spec(4, max_tokens=9000), 7, 0),
    ]
    sweep = Sweep("test", sweep_of(0).resources, tuple(planned), 0)
    _, listener = launch(sweep, tmp_path)
    assert [r["seed"] for r in listener.rows] == [4, 2, 3, 1]


def test_evaluations_of_the_loaded_model_run_before_those_of_another(tmp_path: Path) -> None:
    models = ["a/one", "b/two"] * 5
    planned = tuple(PlannedEvaluation(spec(i, model=m), 0, 0) for i, m in enumerate(models))
    _, listener = launch(Sweep("test", sweep_of(0).resources, planned, 0), tmp_path)
    assert [r["model"] for r in listener.rows] == ["a/one"] * 5 + ["b/two"] * 5


class Committing:
    """Counts what the real commits do, on a clock that a test advances."""

    def __init__(self, root: Path) -> None:
        self.now = 0.0
        self.store = Store(root)
        self.commits = group_commit.GroupCommit(self.store, clock=lambda: self.now)
        self.files: list[Sequence[Mapping[str, Any]]] = []

    def stored(self) -> int:
        return Store(self.store.uri).trials().num_rows


def test_the_first_result_is_committed_at_once_and_the_next_together(tmp_path: Path) -> None:
    it = Committing(tmp_path)
    it.commits.add_trial(row(0))
    assert it.commits.commit_if_due()
    assert it.stored() == 1
    for seed in range(1, 6):
        it.commits.add_trial(row(seed))
        assert not it.commits.commit_if_due()
    assert it.stored() == 1
    it.now += group_commit.INTERVAL
    assert it.commits.commit_if_due()
    assert it.stored() == 6
    assert len(it.store.own_parts["trials"]) == 2


def test_parts_are_stored_after_a_while_and_not_at_all_if_the_result_is_there(
    tmp_path: Path,
) -> None:
    it = Committing(tmp_path)
    it.commits.add_span(span("fast", 0))
    it.commits.add_span(span("slow", 0))
    assert not it.commits.commit_if_due()
    it.commits.drop_spans("fast")
    it.now += group_commit.SPANS_INTERVAL
    assert it.commits.commit_if_due()
    assert set(Store(tmp_path).spans(["fast", "slow"])) == {"slow"}


def test_finished_parts_are_handed_to_the_next_attempt(tmp_path: Path) -> None:
    launch(sweep_of(1), tmp_path, script={"0": ["error"]}, spans=6, seconds=0.06)
    (ok,) = Store(tmp_path).results(["n_documents", "attempt"]).to_pylist()
    assert ok == {"n_documents": 3, "attempt": 2}


def test_finished_parts_in_the_store_are_handed_to_the_next_launch(tmp_path: Path) -> None:
    run_id = spec(0).run_id
    Store(tmp_path).append_documents([span(run_id, number) for number in range(4)])
    launch(sweep_of(1), tmp_path, spans=6, seconds=0.06)
    (ok,) = Store(tmp_path).results(["n_documents"]).to_pylist()
    assert ok == {"n_documents": 4}


def _soon(action: Any, *arguments: Any) -> None:
    threading.Timer(0.6, action, arguments).start()


def test_one_interrupt_stops_cleanly_with_everything_finished_committed(tmp_path: Path) -> None:
    _soon(os.kill, os.getpid(), signal.SIGINT)
    began = time.monotonic()
    summary, listener = launch(sweep_of(100), tmp_path, seconds=0.05)
    assert time.monotonic() - began < 0.6 + 5.0
    assert (summary.interrupted, summary.exit_code) == (True, 130)
    finished = sorted(r["run_id"] for r in listener.rows)
    assert 0 < len(finished) < 100
    assert ok_run_ids(Store(tmp_path)) == finished
    assert summary.not_run == 100 - len(finished)
    again, _ = launch(sweep_of(100), tmp_path)
    assert (again.done_before, again.exit_code) == (len(finished), 0)


def test_an_evaluation_that_does_not_report_is_left_behind(tmp_path: Path) -> None:
    _soon(os.kill, os.getpid(), signal.SIGINT)
    summary, _ = launch(sweep_of(3), tmp_path, LaunchOptions(patience=0.3), script={"1": ["hang"]})
    assert summary.interrupted
    assert ok_run_ids(Store(tmp_path)) == [spec(0).run_id]


def test_a_second_interrupt_ends_at_once_and_the_store_is_intact(tmp_path: Path) -> None:
    _soon(os.kill, os.getpid(), signal.SIGINT)
    threading.Timer(0.9, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        launch(sweep_of(3), tmp_path, script={"1": ["hang"]})
    assert ok_run_ids(Store(tmp_path)) == [spec(0).run_id]
    assert not [path for path in (tmp_path / "trials").iterdir() if path.name.startswith("_")]


def test_a_cancel_request_stops_the_driver_like_an_interrupt(tmp_path: Path) -> None:
    def cancel() -> None:
        storage = Store(tmp_path).storage
        for writer in read_drivers(storage):
            request_cancel(storage, writer)

    _soon(cancel)
    summary, _ = launch(sweep_of(200), tmp_path, seconds=0.05)
    assert (summary.interrupted, summary.exit_code) == (True, 130)
    assert 0 < summary.ok < 200
    assert list((tmp_path / "drivers").iterdir()) == []


def test_a_store_that_cannot_be_written_stops_the_sweep_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "drivers").write_text("in the way")
    listener = Listening()
    executor = InlineExecutor(evaluator=CRASHING)
    with pytest.raises(StoreError, match="cannot be written"):
        run_sweep(sweep_of(3), Store(tmp_path), executor, LaunchOptions(), listener)
    assert listener.rows == []


def test_a_store_that_fills_up_stops_the_sweep_loudly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, written = Store.write_part, []

    def fills_up(store: Store, folder: str, table: Any) -> str:
        if len(written) == 2:
            monkeypatch.setattr("orchestrator.store.storage.os.fsync", _no_space)
        written.append(folder)
        return real(store, folder, table)

    monkeypatch.setattr(Store, "write_part", fills_up)
    with pytest.raises(StoreError, match="No space left"):
        launch(sweep_of(100), tmp_path, seconds=0.05)
    monkeypatch.undo()
    assert 0 < len(ok_run_ids(Store(tmp_path))) < 100


def _no_space(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_perplexity_that_overflows_does_not_disturb_the_heartbeat() -> None:
    progress = Progress(
        phase="quality",
        documents_done=0,
        documents_total=1,
        tokens_done=1,
        tokens_total=2,
        perplexity=float("inf"),
    )
    running = (Running(run_id="x", label="y", progress=progress),)
    numbers = dict.fromkeys(("total", "done_before", "done_elsewhere", "ok", "failed"), 0)
    snapshot = Snapshot(sweep="s", skipped=0, waiting=0, running=running, **numbers)
    (described,) = snapshot.to_json()["running"]
    assert described["perplexity"] is None
    json.dumps(snapshot.to_json(), allow_nan=False)


class Forgetful(InlineExecutor):
    """Loses the first evaluation that it is handed, and does not say so."""

    lost: str | None = None

    def submit(self, slot: str, assignments: Sequence[Assignment]) -> None:
        if self.lost is None:
            self.lost = assignments[0].spec.run_id
        else:
            super().submit(slot, assignments)


def test_work_that_no_evaluator_has_is_taken_back_and_said(tmp_path: Path) -> None:
    listener, executor = Listening(), Forgetful(evaluator=CRASHING)
    options = LaunchOptions(still_seconds=0.3)
    summary = run_sweep(sweep_of(3), Store(tmp_path), executor, options, listener)
    assert executor.lost is not None
    assert ok_run_ids(Store(tmp_path)) == run_ids(sweep_of(3))
    assert (summary.ok, summary.attempts) == (3, 3)
    assert listener.said("no evaluator has them")
