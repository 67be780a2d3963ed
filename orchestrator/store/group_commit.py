"""Commit rows in groups: the first result at once, then at most one commit per interval.

Ten thousand fast evaluations must not make ten thousand files, and a slow one must not wait.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.store.compaction import Compactor
from orchestrator.store.store import Store

INTERVAL = 0.25
"""Seconds between two commits of results, at least."""
SPANS_INTERVAL = 5.0
"""Seconds between two commits of finished spans: what a dead driver can lose of them.

Most evaluations are over before that, and then their spans need not be stored at all.
"""


class GroupCommit:
    """Rows on their way into the store."""

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._trials: list[Mapping[str, Any]] = []
        self._spans: dict[str, list[Mapping[str, Any]]] = {}
        self._compactor = Compactor(store)
        self._stored_spans: set[str] = set()
        self._next = clock()
        self._next_spans = self._next + SPANS_INTERVAL

    def add_trial(self, row: Mapping[str, Any]) -> None:
        """Let a finished attempt wait for the next commit."""
        self._trials.append(row)

    def add_span(self, row: Mapping[str, Any]) -> None:
        """Let a finished span wait for the next commit of spans."""
        self._spans.setdefault(row["run_id"], []).append(row)

    def write_tokens(self, run_id: str, parquet: bytes) -> None:
        """Commit the losses of every token of an evaluation at once. Raises `StoreError`."""
        self._store.write_tokens(run_id, parquet)

    def drop_spans(self, run_id: str) -> None:
        """Forget the spans of an evaluation that has its result."""
        self._spans.pop(run_id, None)
        if run_id in self._stored_spans:
            self._stored_spans.remove(run_id)
            self._compactor.finished(run_id)

    def seconds_left(self) -> float | None:
        """Return how long until a commit is due; None if nothing waits."""
        moments = [self._next] if self._trials else []
        moments += [self._next_spans] if self._spans else []
        return max(0.0, min(moments) - self._clock()) if moments else None

    def commit_if_due(self) -> bool:
        """Commit what waits and is due. Raises `StoreError`."""
        now = self._clock()
        trials_due = bool(self._trials) and now >= self._next
        spans_due = bool(self._spans) and now >= self._next_spans
        if spans_due:
            self._commit_spans()
        if trials_due:
            self._commit_trials()
        self._compactor.merge_if_due()
        return trials_due or spans_due

    def commit(self) -> None:
        """Commit everything that waits. Raises `StoreError`."""
        self._commit_trials()
        self._commit_spans()

    def close(self) -> None:
        """Commit everything that waits and put the store in order. Raises `StoreError`."""
        self.commit()
        self._compactor.close()

    def _commit_trials(self) -> None:
        self._store.append_trials(self._trials)
        self._trials = []
        self._next = self._clock() + INTERVAL

    def _commit_spans(self) -> None:
        self._store.append_documents([row for rows in self._spans.values() for row in rows])
        self._stored_spans.update(self._spans)
        self._spans = {}
        self._next_spans = self._clock() + SPANS_INTERVAL
