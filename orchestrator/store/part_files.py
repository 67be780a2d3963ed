"""Read a folder of Parquet parts that others write, compact and damage meanwhile.

Every file is read with an explicit schema: columns a file lacks are null, columns that only a
newer minor version knows are left out. A file that cannot be read is named and skipped. When a
file vanishes between listing and reading (compaction), the folder is listed again; the merged
file then brings the same rows, and rows met twice are dropped by their `row_id`.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestrator.errors import StoreError, StoreVersionError
from orchestrator.store.storage import Storage
from workers.contract.failures import reason_of
from workers.contract.rows import SCHEMA_VERSION

SUFFIX = ".parquet"
_KEYS = ("row_id", "run_id", "schema_version")
"""Columns without which a Parquet file is not one of ours."""
_LISTINGS = 6
"""How often a folder is listed again while files vanish from under the reader."""
_THREADS = 8

Skip = frozenset[str] | set[str]


@dataclass
class Reading:
    """What one look at a folder gave."""

    table: pa.Table
    names: set[str] = field(default_factory=set)
    """Files that were read."""
    damaged: list[tuple[str, str]] = field(default_factory=list)
    """(path, reason) of every file that was skipped."""


def part_names(storage: Storage, folder: str) -> list[str]:
    """Return the names of the files that readers look at: no `_*`, no `.*`."""
    return [
        name
        for name in storage.names(folder)
        if name.endswith(SUFFIX) and not name.startswith(("_", "."))
    ]


def read_folder(
    storage: Storage,
    folder: str,
    schema: pa.Schema,
    columns: Sequence[str],
    *,
    skip: Skip = frozenset(),
    skip_prefix: str | None = None,
    where: pc.Expression | None = None,
) -> Reading:
    """Read the given columns of every part that is not to be skipped, each row once.

    where: which rows to keep; file by file, so that a large store is never held twice.
    `row_id` is read as well where it is needed to drop repeated rows. Raises
    `StoreVersionError` if a newer major version wrote a file, `StoreError` if the folder itself
    cannot be listed or a file cannot be reached.
    """
    wanted = pa.schema([schema.field(name) for name in dict.fromkeys(("row_id", *columns))])
    tables: dict[str, pa.Table] = {}
    damaged: dict[str, str] = {}
    for listing in range(_LISTINGS):
        try:
            listed = part_names(storage, folder)
        except OSError as error:
            raise StoreError(f"{storage.uri}/{folder}: cannot be listed: {error}") from error
        names = [n for n in listed if n not in skip and n not in tables]
        names = [n for n in names if skip_prefix is None or not n.startswith(skip_prefix)]
        names = [n for n in names if n not in damaged]
        vanished = _read_into(storage, folder, names, wanted, tables, damaged, where)
        if not vanished:
            break
        time.sleep(0.05 * 2**listing)  # a listing may lag behind a deletion
    else:
        damaged |= dict.fromkeys(vanished, "listed, but not there")
    everything = [wanted.empty_table(), *tables.values()]
    table = _without_repeats(pa.concat_tables(everything)).select(list(columns))
    paths = [(f"{folder}/{name}", reason) for name, reason in sorted(damaged.items())]
    return Reading(table, set(tables), paths)


def _read_into(
    storage: Storage,
    folder: str,
    names: Sequence[str],
    wanted: pa.Schema,
    tables: dict[str, pa.Table],
    damaged: dict[str, str],
    where: pc.Expression | None,
) -> list[str]:
    """Read the named files into `tables` and `damaged`; return the names that had vanished."""
    vanished = []
    with ThreadPoolExecutor(_THREADS) as pool:
        outcomes = pool.map(lambda name: read_whole(storage, folder, name, wanted), names)
        for name, outcome in zip(names, outcomes, strict=True):
            if outcome is None:
                vanished.append(name)
            elif isinstance(outcome, str):
                damaged[name] = outcome
            else:
                tables[name] = outcome if where is None else outcome.filter(where)
    return vanished


def read_whole(
    storage: Storage, folder: str, name: str, wanted: pa.Schema
) -> pa.Table | str | None:
    """Return a file's rows, the reason why it is damaged, or None if it has vanished.

    Raises `StoreError` if it cannot be told, because the file cannot be fetched at present.
    """
    path = f"{storage.uri}/{folder}/{name}"
    try:
        with storage.open(folder, name) as source:
            return _parse(source, wanted, path)
    except FileNotFoundError:
        return None
    except pa.ArrowException as error:
        return f"damaged: {reason_of(error)}"
    except OSError as error:
        if storage.local_root is not None:
            return f"damaged: {reason_of(error)}"
    # From afar, a broken connection looks like a broken file: look at the whole of it.
    try:
        content = storage.fetch(folder, name)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error}") from error
    try:
        return _parse(pa.BufferReader(content), wanted, path)
    except (pa.ArrowException, OSError) as error:
        return f"damaged: {reason_of(error)}"


def _parse(source: pa.NativeFile, wanted: pa.Schema, path: str) -> pa.Table | str:
    file = pq.ParquetFile(source)
    present = set(file.schema_arrow.names)
    if missing := [key for key in _KEYS if key not in present]:
        return f"a foreign Parquet file: no column {', '.join(missing)}"
    newest = pc.max(file.read(["schema_version"]).column(0)).as_py()
    if newest is not None and newest > SCHEMA_VERSION:
        raise StoreVersionError(
            f"{path}: written with schema version {newest}, this SinkSweep reads up to "
            f"{SCHEMA_VERSION}: upgrade SinkSweep, or use another --store"
        )
    return conform(file.read([name for name in wanted.names if name in present]), wanted)


def conform(table: pa.Table, wanted: pa.Schema) -> pa.Table:
    """Return the table with exactly the wanted columns and types, null where it has none."""
    if table.schema.equals(wanted):
        return table
    arrays = [
        table.column(item.name).cast(item.type)
        if item.name in table.schema.names
        else pa.nulls(table.num_rows, item.type)
        for item in wanted
    ]
    return pa.table(arrays, schema=wanted)


def _without_repeats(table: pa.Table) -> pa.Table:
    """Keep the first of the rows that share a `row_id`."""
    identifiers = table.column("row_id")
    if pc.count_distinct(identifiers).as_py() == table.num_rows:
        return table
    places = pa.array(np.arange(table.num_rows))
    numbered = pa.Table.from_arrays([identifiers, places], names=["row_id", "place"])
    first = numbered.group_by("row_id").aggregate([("place", "min")]).column("place_min")
    return table.filter(mask_of(first, table.num_rows))


def mask_of(places: "pa.ChunkedArray[Any]", length: int) -> pa.BooleanArray:
    """Return booleans of the given length, true at these places.

    A filter keeps the order of rows, and costs less than taking rows with long lists.
    """
    mask = np.zeros(length, dtype=bool)
    mask[places.to_numpy()] = True
    return pa.array(mask)
