"""What follows from what evaluations report: rows to commit, retries, failures given up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.driver import retries
from orchestrator.driver.queue import Queue
from orchestrator.driver.tally import Tally, spec_label
from orchestrator.executors.base import Happened, Returned, Update
from orchestrator.progress.causes import NOT_TRIED
from orchestrator.progress.snapshot import Listener
from orchestrator.store.group_commit import GroupCommit
from workers.contract import failures
from workers.contract.events import Finished, Progress, SpanDone, TokenLosses
from workers.contract.failures import Failure
from workers.contract.rows import Span, Trial, build_row
from workers.contract.spec import loading_key


@dataclass(frozen=True)
class Books:
    """Where outcomes are entered."""

    sweep: str
    queue: Queue
    tally: Tally
    commits: GroupCommit
    listener: Listener
    provenance: Mapping[str, Any]
    """Columns that only the driver knows: git_commit, git_dirty."""


class Outcomes:
    """Turns the updates of an executor into entries in the books; owns the attempts."""

    def __init__(
        self, books: Books, *, spans: dict[str, list[Span]], rules: retries.RetryRules
    ) -> None:
        self._books, self._rules = books, rules
        self.spans = spans
        """Finished spans of evaluations that have no result yet, by run id."""
        self.suspects: set[str] = set()
        """Evaluations that were handed over together to an evaluator that died."""
        self._histories: dict[str, retries.AttemptHistory] = {}
        self._unloadable: set[str] = set()

    def history(self, run_id: str) -> retries.AttemptHistory:
        """Return the failures of an evaluation so far."""
        return self._histories.get(run_id) or retries.AttemptHistory()

    def handle(self, updates: Sequence[Update]) -> None:
        """Enter what has happened."""
        for update in updates:
            if isinstance(update, Happened):
                event = update.event
                if isinstance(event, Progress):
                    self._books.tally.progress(update.run_id, event)
                elif isinstance(event, SpanDone):
                    self.spans.setdefault(update.run_id, []).append(event.row)
                    self._books.commits.add_span(event.row)
                elif isinstance(event, TokenLosses):
                    self._books.commits.write_tokens(update.run_id, event.parquet)
                elif isinstance(event, Finished):
                    self._ended(update.run_id, event.row)
            elif isinstance(update, Returned):
                self._returned(update.run_ids)
            elif len(update.run_ids) > 1:  # lost; nobody knows which it was, and which had begun
                self.suspects.update(update.run_ids)
                self._returned(update.run_ids)
            else:
                (run_id,) = update.run_ids
                self._ended(run_id, self._failed_row(run_id, update.failure))

    def _returned(self, run_ids: Sequence[str]) -> None:
        for run_id in run_ids:
            self._books.tally.stop(run_id)
            self._books.queue.add(run_id)

    def _failed_row(self, run_id: str, failure: Failure) -> Trial:
        """Return the row of an attempt that its evaluator could not describe itself."""
        return build_row(
            self._books.queue.planned(run_id).spec,
            sweep=self._books.sweep,
            attempt=1 + self.history(run_id).attempts,
            parts=(self._books.provenance, failure.columns()),
        )

    def _ended(self, run_id: str, row: Trial) -> None:
        """An attempt is over: commit its row, and decide what follows."""
        self._books.tally.stop(run_id)
        self._books.tally.attempt(row)
        self._books.commits.add_trial(row)
        self._books.listener.row(row)
        if row["status"] == "ok":
            self._books.commits.drop_spans(run_id)
            self.spans.pop(run_id, None)
            self._histories.pop(run_id, None)
        else:
            self._failed(run_id, row)

    def _failed(self, run_id: str, row: Trial) -> None:
        history = self._histories.setdefault(run_id, retries.AttemptHistory())
        history.attempts += 1
        kind, spec = row["error_kind"] or failures.ERROR, self._books.queue.planned(run_id).spec
        retry = retries.after_failure(history, kind, row, self._rules)
        hopeless = kind == failures.MODEL_LOAD and loading_key(spec) in self._unloadable
        if retry is not None and not hopeless:
            self._books.queue.add(run_id, delay=retry.delay)
            if kind == failures.MODEL_LOAD:
                self._books.queue.delay_model(loading_key(spec), retry.delay)
            return
        self._books.tally.give_up(run_id, spec_label(spec), row)
        if kind != failures.MODEL_LOAD:
            return
        # What waits for a model that cannot be loaded fails, without being tried one by one.
        self._unloadable.add(loading_key(spec))
        message = f"{NOT_TRIED}{row.get('error_message')}"
        for other in self._books.queue.discard_model(loading_key(spec)):
            failed = self._failed_row(other, Failure(kind=kind, error_type=kind, message=message))
            self._books.tally.attempt(failed)
            self._books.commits.add_trial(failed)
            label = spec_label(self._books.queue.planned(other).spec)
            self._books.tally.give_up(other, label, failed)
