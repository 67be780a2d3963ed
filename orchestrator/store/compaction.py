"""Merge many small parts into few large ones; a crash at any point loses and doubles nothing.

The merged file is complete before the first of its inputs is deleted, and readers drop rows that
they meet twice. Two compactions at once are as harmless: each deletes only what its own merged
files hold.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.errors import StoreError
from orchestrator.store.heartbeats import read_drivers
from orchestrator.store.part_files import part_names, read_whole
from orchestrator.store.store import DOCUMENTS_FOLDER, SCHEMAS, TRIALS_FOLDER, Store

PARTS_PER_MERGE = 256
"""A driver merges its own parts whenever so many have come together."""
MERGED_BYTES = 64_000_000
"""About how much a merged file holds, in memory: what a merge needs at a time."""
WHOLE_STORE_BYTES = 256_000_000
"""The same for `sweep compact`."""

Filter = Callable[[pa.Table], pa.Table]


@dataclass(frozen=True)
class Compacted:
    """What a compaction of the whole store did."""

    files_before: int
    files_after: int
    skipped: tuple[str, ...]
    """Writers that are running, and files that cannot be read: both left alone."""


class Compactor:
    """Merges the parts of one running driver, in a thread of its own.

    parts_per_merge: so many parts are merged as soon as they have come together.
    """

    def __init__(self, store: Store, *, parts_per_merge: int = PARTS_PER_MERGE) -> None:
        self._store, self._parts_per_merge = store, parts_per_merge
        self._thread: threading.Thread | None = None
        self._obsolete: set[str] = set()
        self.problem: str | None = None
        """Why the latest merge failed. The parts are still there: nothing is lost by it."""

    def finished(self, run_id: str) -> None:
        """Say that an evaluation has its result: its stored spans are not needed any more."""
        self._obsolete.add(run_id)

    def merge_if_due(self) -> None:
        """Start a merge of what this driver has written, if it is much."""
        if self._thread is not None and self._thread.is_alive():
            return
        for folder, names in self._store.own_parts.items():
            if len(names) >= self._parts_per_merge:
                self._thread = threading.Thread(
                    target=self._merge, args=(folder, tuple(names)), name="compaction", daemon=True
                )
                self._thread.start()
                return

    def close(self) -> None:
        """Wait for a merge under way, and put away parts that nobody needs."""
        if self._thread is not None:
            self._thread.join()
        if self._obsolete and self._store.own_parts[DOCUMENTS_FOLDER]:
            self._merge(DOCUMENTS_FOLDER, tuple(self._store.own_parts[DOCUMENTS_FOLDER]))

    def _merge(self, folder: str, names: Sequence[str]) -> None:
        keep = None
        if folder == DOCUMENTS_FOLDER:
            keep = partial(_without, run_ids=pa.array(sorted(self._obsolete), pa.string()))
        try:
            merge(self._store, folder, names, keep=keep)
            self.problem = None
        except (StoreError, OSError, pa.ArrowException) as error:
            self.problem = str(error)
        # Merged or not, these are not tried again: a full disk must not be asked every second.
        del self._store.own_parts[folder][: len(names)]


def compact(store: Store) -> Compacted:
    """Merge the whole store, except for what running drivers and damaged files hold.

    Raises `StoreError` if the store cannot be read or written.
    """
    running = tuple(read_drivers(store.storage))
    in_use = tuple(f"part-{writer}-" for writer in running)
    before = after = 0
    damaged: list[str] = []
    for folder in (TRIALS_FOLDER, DOCUMENTS_FOLDER):
        everything = part_names(store.storage, folder)
        before += len(everything)
        names = [name for name in everything if not name.startswith(in_use)]
        if len(names) > 1:
            keep = None
            if folder == DOCUMENTS_FOLDER:  # without the spans of evaluations that have a result
                done = store.results(["run_id"]).column("run_id").combine_chunks()
                keep = partial(_without, run_ids=done)
            damaged += merge(store, folder, names, keep=keep, size=WHOLE_STORE_BYTES)
        after += len(part_names(store.storage, folder))
    return Compacted(before, after, (*running, *damaged))


def merge(
    store: Store,
    folder: str,
    names: Sequence[str],
    *,
    keep: Filter | None = None,
    size: int = MERGED_BYTES,
) -> list[str]:
    """Put the rows of these files into as few files as fit `size`, then delete them.

    Rows that `keep` leaves out are dropped. Files that cannot be read are left alone and returned;
    files that have vanished were merged by someone else.
    """
    damaged: list[str] = []
    for inputs, table in _groups(store, folder, names, size, damaged):
        kept = keep(table) if keep else table
        if kept.num_rows:
            store.write_part(folder, kept)
        for name in inputs:
            with contextlib.suppress(OSError):  # left over: its rows are met twice, read once
                store.storage.delete(folder, name)
    return damaged


def _groups(
    store: Store, folder: str, names: Sequence[str], size: int, damaged: list[str]
) -> Iterator[tuple[list[str], pa.Table]]:
    """Yield files whose rows together take about `size` bytes, and these rows."""
    inputs: list[str] = []
    tables: list[pa.Table] = []
    for name in names:
        outcome = read_whole(store.storage, folder, name, SCHEMAS[folder])
        if outcome is None:
            continue
        if isinstance(outcome, str):
            damaged.append(name)
            continue
        inputs.append(name)
        tables.append(outcome)
        if sum(table.nbytes for table in tables) >= size:
            yield inputs, pa.concat_tables(tables)
            inputs, tables = [], []
    if inputs:
        yield inputs, pa.concat_tables(tables)


def _without(table: pa.Table, run_ids: pa.Array) -> pa.Table:  # type: ignore[type-arg]
    return table.filter(pc.invert(pc.is_in(table.column("run_id"), value_set=run_ids)))
