"""Share a sweep with other drivers on the same store.

About once a second: say what this driver is at, learn what the others are at, and read the rows
that they have written since.
"""

from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.driver.queue import Queue
from orchestrator.errors import StoreError, StoreVersionError
from orchestrator.store.heartbeats import Heartbeat
from orchestrator.store.remaining import STATE_COLUMNS, done_among
from orchestrator.store.store import TRIALS_FOLDER, Store
from orchestrator.sweep import Sweep

NEAR_END = 20
"""A share with fewer waiting evaluations than this will soon be taken from."""


class Peers:
    """The other drivers, as far as they matter to this one's queue."""

    def __init__(self, store: Store, queue: Queue, sweep: Sweep, files: frozenset[str]) -> None:
        self._store, self._queue, self._resources = store, queue, sweep.resources
        self._heartbeat = Heartbeat(store.storage, store.writer, sweep.name)
        self._files = set(files)
        self._had_company = False

    @property
    def cancelled(self) -> bool:
        """Tell whether someone has asked this driver to stop."""
        return self._heartbeat.cancelled

    def is_introduced(self) -> bool:
        """Tell whether work may begin: the others know of this driver, or had the time to."""
        return self._heartbeat.is_introduced()

    def is_due(self) -> bool:
        """Tell whether it is time for `exchange`.

        Where shares run out, what is known of the others must be fresh, or work is done twice.
        """
        near_end = self._had_company and (
            self._queue.own() < NEAR_END
            or any(
                peer.state.get("own", NEAR_END) < NEAR_END
                for peer in self._heartbeat.peers.values()
            )
        )
        return self._heartbeat.is_due(hurry=near_end)

    def exchange(self, describe: Callable[[], Mapping[str, Any]]) -> tuple[list[str], list[str]]:
        """Exchange news; return what others have done and what they have given up.

        Both hold only run ids that were waiting here; they wait no longer. Raises `StoreError`.
        """
        self._heartbeat.write(lambda: {**describe(), "own": self._queue.own()})
        others = self._heartbeat.peers.values()
        if not others and not self._had_company:
            return [], []
        # What files that are unread so far hold as done.
        try:
            reading = self._store.read(TRIALS_FOLDER, STATE_COLUMNS, skip=self._files, own=False)
        except StoreVersionError:
            raise
        except StoreError:  # cannot be read at present: tried again in a second
            elsewhere: set[str] = set()
        else:
            self._files |= reading.names
            told = self._queue.places.keys() & set(reading.table.column("run_id").to_pylist())
            planned = {run_id: self._queue.planned(run_id) for run_id in told}
            elsewhere = done_among(planned, self._resources, reading.table)
        done = self._queue.mark_done(elsewhere)
        given_up = {run_id for peer in others for run_id in peer.state.get("given_up", ())}
        failed = self._queue.mark_done(given_up)
        self._queue.split(self._heartbeat.share())
        self._queue.hold(self._heartbeat.others_in_flight())
        self._had_company = bool(others)
        return done, failed

    def steal(self, count: int) -> list[str]:
        """Take work from the others' shares that none of them has begun."""
        return self._queue.steal(count)

    def end(self) -> None:
        """Tell the others that this driver has ended."""
        self._heartbeat.end()
