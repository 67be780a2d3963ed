"""Run a sweep: hand evaluations to evaluators, own their attempts, commit what they find.

One loop, one thread. It fills free evaluators, waits for updates, decides about failures, and
commits in groups. Whatever ends it, everything that was finished is in the store.
"""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.driver.forecast import Forecast
from orchestrator.driver.outcomes import Books, Outcomes
from orchestrator.driver.peers import Peers
from orchestrator.driver.queue import Queue
from orchestrator.driver.retries import RetryRules
from orchestrator.driver.tally import Tally, spec_label
from orchestrator.errors import StoreError
from orchestrator.executors.base import Executor, Returned
from orchestrator.process import Interrupts
from orchestrator.progress.snapshot import Listener, Snapshot
from orchestrator.store.group_commit import GroupCommit
from orchestrator.store.remaining import Remaining, find_remaining
from orchestrator.store.store import Store
from orchestrator.sweep import Sweep
from orchestrator.words import counted
from workers.contract import failures
from workers.contract.events import Assignment

TICK = 0.25
"""Seconds after which the loop looks around even if nothing has happened."""
DISPLAY_INTERVAL = 0.2
REMINDER_SECONDS = 60.0
"""How often to repeat why nothing runs, if the reason stays the same."""


@dataclass(frozen=True, kw_only=True)
class LaunchOptions(RetryRules):
    """How to run a sweep."""

    fail_fast: bool = False
    """Stop at the first evaluation that is given up."""
    skip_failed: bool = False
    """Leave evaluations alone that failed in an earlier launch."""
    remeasure: bool = False
    """Run also what is done."""
    remeasure_disturbed: bool = False
    """Run only what is done and was disturbed while it was timed."""
    limit: int | None = None
    """Run at most so many evaluations."""
    still_seconds: float = 5.0
    """How long no evaluator may have work before the driver says why, and acts."""
    patience: float = 2.0
    """Seconds that evaluations under way get to come to a stop after the first Ctrl-C."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Columns that only the launching machine knows (`launch.git_state`)."""


def what_is_left(sweep: Sweep, store: Store, options: LaunchOptions) -> Remaining:
    """Ask the store what a launch with these options would run. Raises `StoreError`."""
    return find_remaining(
        sweep,
        store,
        skip_failed=options.skip_failed,
        remeasure=options.remeasure,
        remeasure_disturbed=options.remeasure_disturbed,
        limit=options.limit,
    )


def run_sweep(
    sweep: Sweep,
    store: Store,
    executor: Executor,
    options: LaunchOptions,
    listener: Listener,
    remaining: Remaining | None = None,
) -> Snapshot:
    """Run what is left of a sweep and return what became of it.

    remaining: what is left, if the store has been asked already.

    A first Ctrl-C (or SIGTERM) ends it cleanly, with everything finished committed; a second one
    raises `KeyboardInterrupt`. Raises `StoreError` as soon as results cannot be stored.
    """
    with Interrupts() as interrupts:
        try:
            left = remaining or what_is_left(sweep, store, options)
            return _Driver(sweep, store, executor, options, listener, left).run(interrupts)
        finally:
            executor.close()


class _Driver:
    def __init__(
        self,
        sweep: Sweep,
        store: Store,
        executor: Executor,
        options: LaunchOptions,
        listener: Listener,
        remaining: Remaining,
    ) -> None:
        self.sweep, self.store, self.options = sweep, store, options
        self.executor, self.listener = executor, listener
        forecast = Forecast(sweep.evaluations[place].spec for place in remaining.todo)
        self.tally = Tally(sweep.name, len(sweep.evaluations), remaining, forecast)
        self.queue = Queue(sweep.evaluations, remaining.todo)
        self.peers = Peers(store, self.queue, sweep, remaining.files)
        self.commits = GroupCommit(store)
        self.outcomes = Outcomes(
            Books(sweep.name, self.queue, self.tally, self.commits, listener, options.provenance),
            spans=store.spans(self.queue.places),
            rules=options,
        )
        self._ran: dict[str, str] = {}
        """What each evaluator was handed last."""
        self._display_at = 0.0
        self._idle_since = time.monotonic()
        self._reason, self._said_at = "", 0.0

    def run(self, interrupts: Interrupts) -> Snapshot:
        """Loop until nothing is left, or until told to stop."""
        if self._work_left():
            try:
                self._work(interrupts)
            except StoreError:
                raise
            except BaseException:  # the cluster is gone, or a second Ctrl-C
                self.commits.close()
                raise
            finally:
                self.peers.end()
        stopped = interrupts.requested or self.peers.cancelled
        self._show("ended")
        return replace(
            self._snapshot("ended"),
            interrupted=stopped,
            notes=tuple(self.executor.notes),
            failures=tuple(self.tally.failures),
        )

    def _work(self, interrupts: Interrupts) -> None:
        while self._work_left() and not (
            interrupts.requested
            or self.peers.cancelled
            or (self.options.fail_fast and self.tally.failed > 0)
        ):
            if self.peers.is_due():
                self._exchange()
            self.executor.scale(len(self.queue) + len(self.tally.running))
            self._fill()
            moments = [TICK]
            if (commit := self.commits.seconds_left()) is not None:
                moments.append(commit)
            if (ready := self.queue.next_ready()) is not None:
                moments.append(max(0.01, ready - time.monotonic()))
            self.outcomes.handle(self.executor.wait(min(moments)))
            self._fill()  # before the commit: no evaluator waits for the disk
            self.commits.commit_if_due()
            self._show("running")
            self._watch()
        if self.tally.running:
            # Evaluations under way get a moment to report; nothing more is started.
            self.commits.commit()
            self.executor.cancel()
            deadline = time.monotonic() + self.options.patience
            while self.executor.busy() and (left := deadline - time.monotonic()) > 0:
                self.outcomes.handle(self.executor.wait(min(left, TICK)))
                self.commits.commit_if_due()
                self._show("stopping")
        self.commits.close()

    def _watch(self) -> None:
        """Say why nothing runs, and take back work that no evaluator has."""
        for line in self.executor.news():
            self.listener.note(line)
        now = time.monotonic()
        if self.executor.busy():
            self._idle_since, self._reason = now, ""
            return
        if now - self._idle_since <= self.options.still_seconds:
            return
        if self.tally.running:
            self._idle_since = now
            self.listener.note(
                f"{counted(len(self.tally.running), 'evaluation')} said to run, and no evaluator "
                "has them: run again; please report this"
            )
            self.outcomes.handle([Returned(tuple(self.tally.running))])
            return
        reason = "other drivers hold what is left (see `sweep status`)"
        if not self.executor.free():
            reason = self.executor.why()
        elif (ready := self.queue.next_ready()) is not None and self.queue.own() > 0:
            wait = max(0.0, ready - time.monotonic())
            reason = f"what is left waits for its next attempt, the first in {wait:.0f} s"
        same = re.sub(r"\d+", "", reason)  # seconds pass, and are no news
        if same != self._reason or now - self._said_at > REMINDER_SECONDS:
            self._reason, self._said_at = same, now
            self.listener.note(f"nothing runs: {reason}")

    def _work_left(self) -> bool:
        return bool(self.tally.running) or len(self.queue) > 0

    def _exchange(self) -> None:
        """Exchange news with the other drivers on this store."""
        done, given_up = self.peers.exchange(self._describe)
        self.tally.done_elsewhere += len(done)
        for run_id in done:
            self.tally.forecast.ended(run_id)
        for run_id in given_up:
            row = {"error_kind": failures.ERROR, "error_message": "given up by another driver"}
            self.tally.give_up(run_id, spec_label(self.queue.planned(run_id).spec), row)
        if self.peers.cancelled:
            self.listener.note("stopping: asked to by `sweep cancel`")

    def _describe(self) -> dict[str, Any]:
        return {
            **self._snapshot("running").to_json(),
            "in_flight": list(self.tally.running),
            "given_up": [failure.run_id for failure in self.tally.failures],
        }

    def _fill(self) -> None:
        """Hand evaluations to every free evaluator."""
        if not self.peers.is_introduced():
            return
        for slot in self.executor.free():
            after = self._ran.get(slot.id)
            run_ids = self.queue.pop(slot.model, slot.capacity, after)
            if not run_ids and (run_ids := self.peers.steal(slot.capacity)):
                # Of another driver's share, with what that one had finished of it.
                self.outcomes.spans.update(self.store.spans(run_ids))
            if not run_ids:
                return
            if len(run_ids) > 1 and not self.outcomes.suspects.isdisjoint(run_ids):
                # An evaluation that may be what killed its evaluator is handed over alone.
                for run_id in run_ids[1:]:
                    self.queue.add(run_id)
                run_ids = run_ids[:1]
            self._ran[slot.id] = run_ids[-1]
            self.executor.submit(slot.id, [self._assignment(run_id) for run_id in run_ids])

    def _assignment(self, run_id: str) -> Assignment:
        planned = self.queue.planned(run_id)
        history = self.outcomes.history(run_id)
        spans = tuple(self.outcomes.spans.get(run_id, ()))
        self.tally.start(run_id, planned.spec, goes_on=bool(spans))
        return Assignment(
            spec=planned.spec,
            sweep=self.sweep.name,
            attempt=1 + history.attempts,
            chunk_limit=history.chunk_limit,
            spans=spans,
            provenance=self.options.provenance,
        )

    def _show(self, state: str) -> None:
        now = time.monotonic()
        if now >= self._display_at or state == "ended":
            self._display_at = now + DISPLAY_INTERVAL
            self.listener.update(self._snapshot(state))

    def _snapshot(self, state: str) -> Snapshot:
        return self.tally.snapshot(len(self.queue), self.executor.busy(), state)
