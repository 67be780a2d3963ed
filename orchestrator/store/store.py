"""The result store: a folder of plain Parquet files that any tool can read.

    STORE/trials/part-<writer>-<seq>.parquet      one row per attempt of an evaluation
    STORE/documents/part-<writer>-<seq>.parquet   finished spans of evaluations under way
    STORE/tokens/<run_id>.parquet                 per-token NLL, where asked for
    STORE/drivers/<writer>.json                   heartbeats of running drivers
    STORE/logs/<run_id>-<attempt>-<id>.log        what an evaluation printed, if it did

Files are immutable and carry their writer's name, so any number of drivers can share a store
without a lock. Readers survive damaged files and name them in `Store.damaged`.
"""

import itertools
import os
import re
import socket
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestrator.errors import StoreError
from orchestrator.store.part_files import Reading, Skip, mask_of, read_folder
from orchestrator.store.storage import Storage, open_storage
from orchestrator.words import counted
from workers.contract.rows import DOCUMENTS, LIST_COLUMNS, TRIALS, Span

TRIALS_FOLDER = "trials"
DOCUMENTS_FOLDER = "documents"
TOKENS_FOLDER = "tokens"
LOGS_FOLDER = "logs"
SCHEMAS: Mapping[str, pa.Schema] = {TRIALS_FOLDER: TRIALS, DOCUMENTS_FOLDER: DOCUMENTS}
RESULT_KEY = ("run_id", "device_name", "num_threads", "torch_version")
"""A result is the latest `ok` row of each of these: one evaluation on one kind of machine."""
SCALARS: tuple[str, ...] = tuple(name for name in TRIALS.names if name not in LIST_COLUMNS)
"""The columns of a row without its long lists: what readers get unless they ask for more."""


class Store:
    """One store, as seen by one writer."""

    def __init__(self, uri: str | os.PathLike[str] | Storage) -> None:
        """Open the store, by its root or on a storage; nothing is created before the first write.

        Raises `UsageError` for a path that is a file and for a scheme that is not known,
        `StoreError` for an object store that cannot be opened.
        """
        self.storage = open_storage(uri) if isinstance(uri, str | os.PathLike) else uri
        self.uri = self.storage.uri
        host = re.sub(r"[^A-Za-z0-9]+", "", socket.gethostname())[:24] or "host"
        self.writer = f"{host}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.damaged: list[tuple[str, str]] = []
        """(path, reason) of the files that the latest reading of each folder skipped."""
        self.own_parts: dict[str, list[str]] = {name: [] for name in SCHEMAS}
        """Names of the parts that this writer has written and not yet compacted."""
        self._sequence = itertools.count(1)  # shared with the thread that compacts

    @property
    def log_folder(self) -> str | None:
        """Where evaluators keep what evaluations print; None: a folder of their own machine."""
        root = self.storage.local_root
        return None if root is None else str(root / LOGS_FOLDER)

    @property
    def prefix(self) -> str:
        """What the names of this writer's parts begin with."""
        return f"part-{self.writer}-"

    def append_trials(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Commit rows of `rows.TRIALS` as one file. Raises `StoreError` if that fails."""
        self._append(TRIALS_FOLDER, rows)

    def append_documents(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Commit rows of `rows.DOCUMENTS` as one file. Raises `StoreError` if that fails."""
        self._append(DOCUMENTS_FOLDER, rows)

    def trials(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return every attempt, each row once; all columns but the block lists by default."""
        return self.read(TRIALS_FOLDER, SCALARS if columns is None else columns).table

    def results(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the latest `ok` row of each `RESULT_KEY`, every column but the block lists."""
        chosen = SCALARS if columns is None else tuple(columns)
        needed = dict.fromkeys((*chosen, *RESULT_KEY, "status", "finished_at"))
        table = self.read(TRIALS_FOLDER, list(needed), where=pc.field("status") == "ok").table
        return latest(table).select(list(chosen))

    def spans(self, run_ids: Iterable[str]) -> dict[str, list[Span]]:
        """Return the finished spans of these evaluations, in the order of their text."""
        wanted = pa.array(list(run_ids), pa.string())
        found: dict[str, list[Span]] = {}
        if len(wanted) == 0:
            return found
        table = self.read(DOCUMENTS_FOLDER, DOCUMENTS.names).table
        table = table.filter(pc.is_in(table.column("run_id"), value_set=wanted))
        rows = sorted(table.to_pylist(), key=lambda row: (row["document"], row["start"]))
        for row in rows:
            found.setdefault(row["run_id"], []).append(cast("Span", row))
        return found

    def read(
        self,
        folder: str,
        columns: Sequence[str],
        *,
        skip: Skip = frozenset(),
        own: bool = True,
        where: pc.Expression | None = None,
    ) -> Reading:
        """Read columns of the parts in a folder; update `damaged`.

        skip: names of files to leave out. own: whether to read what this writer wrote. where:
        which rows to keep, by the columns read.
        """
        prefix = None if own else self.prefix
        reading = read_folder(
            *(self.storage, folder, SCHEMAS[folder], columns),
            skip=skip,
            skip_prefix=prefix,
            where=where,
        )
        others = [item for item in self.damaged if not item[0].startswith(f"{folder}/")]
        self.damaged = others + reading.damaged
        return reading

    def write_part(self, folder: str, table: pa.Table) -> str:
        """Commit a table as the next part of this writer and return the file's name."""
        name = f"{self.prefix}{next(self._sequence):08d}.parquet"
        try:
            self.storage.write(folder, name, to_parquet(table))
        except (OSError, pa.ArrowException) as error:
            raise StoreError(
                f"{self.uri}/{folder}: {counted(table.num_rows, 'row')} cannot be written: "
                f"{error}; nothing committed before is lost: make the store writable and "
                "launch again"
            ) from error
        return name

    def write_tokens(self, run_id: str, parquet: bytes) -> None:
        """Commit `tokens/<run_id>.parquet`; the latest attempt's stands. Raises `StoreError`."""
        try:
            self.storage.write(TOKENS_FOLDER, f"{run_id}.parquet", parquet)
        except OSError as error:
            raise StoreError(f"{self.uri}/{TOKENS_FOLDER}: cannot be written: {error}") from error

    def _append(self, folder: str, rows: Sequence[Mapping[str, Any]]) -> None:
        if rows:
            table = pa.Table.from_pylist(rows, schema=SCHEMAS[folder])
            self.own_parts[folder].append(self.write_part(folder, table))


def latest(table: pa.Table) -> pa.Table:
    """Keep the latest row of each `RESULT_KEY`; null counts as a value of its own.

    The later `finished_at` wins; between equal ones the row that was read last.
    """
    if pc.count_distinct(table.column("run_id"), mode="all").as_py() == table.num_rows:
        return table
    keys = table.select(list(RESULT_KEY))
    if keys.group_by(list(RESULT_KEY)).aggregate([]).num_rows == table.num_rows:
        return table
    places = pa.array(np.arange(table.num_rows))
    numbered = keys.append_column("finished_at", table.column("finished_at"))
    numbered = numbered.append_column("place", places)
    order: list[tuple[str, Literal["ascending", "descending"]]] = [
        ("finished_at", "ascending"),
        ("place", "ascending"),
    ]
    groups = numbered.sort_by(order).group_by(list(RESULT_KEY), use_threads=False)
    return table.filter(
        mask_of(groups.aggregate([("place", "last")]).column("place_last"), len(table))
    )


def to_parquet(table: pa.Table) -> pa.Buffer:
    """Return the table as the bytes of a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()
