"""The block sums of single rows, and paired intervals between two of them."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from analysis.rows.intervals import Interval, Reals, increase
from orchestrator.store.part_files import part_names
from orchestrator.store.store import TRIALS_FOLDER, Store
from workers.contract.rows import BLOCK_COLUMNS


@dataclass(frozen=True)
class RowBlocks:
    """The blocks of one row: four arrays of one entry per block."""

    size: int
    """Scored tokens in a full block."""
    document: Reals
    index: Reals
    """Position of the block in its document, counted in blocks."""
    tokens: Reals
    nll: Reals
    """Nats, summed over the block."""

    def same_blocks(self, other: "RowBlocks") -> bool:
        """Tell whether two rows were cut into the same blocks, and so can be paired."""
        return (
            self.size == other.size
            and np.array_equal(self.document, other.document)
            and np.array_equal(self.index, other.index)
            and np.array_equal(self.tokens, other.tokens)
        )


Blocks = Mapping[str, RowBlocks]
"""By `row_id`."""


def read(store: Store, row_ids: Collection[str]) -> Blocks:
    """Return the blocks of these rows; rows without blocks are left out.

    Only the row groups that hold one of the rows are read: in a large store the lists are a
    hundred times the rest.
    """
    found: dict[str, RowBlocks] = {}
    wanted = pa.array(sorted(set(row_ids)), pa.string())
    for name in part_names(store.storage, TRIALS_FOLDER) if len(wanted) else ():
        for table in _tables(store, name, wanted):
            found.update(from_table(table))
    return found


def _tables(store: Store, name: str, wanted: pa.StringArray) -> Iterator[pa.Table]:
    """Yield the wanted rows of one file, row group by row group."""
    try:
        with store.storage.open(TRIALS_FOLDER, name) as source:
            file = pq.ParquetFile(source)
            for group in range(file.num_row_groups):
                ids = file.read_row_group(group, ["row_id"]).column("row_id")
                mask = pc.is_in(ids, value_set=wanted)
                if pc.any(mask).as_py():
                    yield file.read_row_group(group, ["row_id", *BLOCK_COLUMNS]).filter(mask)
    except (OSError, pa.ArrowException):
        # Damaged, or merged into another part since it was listed; `Store.results` has named
        # the damaged ones, and an interval without its blocks is absent, not wrong.
        return


def from_table(table: pa.Table) -> Blocks:
    """Return the blocks of every row of a table that has `row_id` and the block columns."""
    rows = table.select(["row_id", *BLOCK_COLUMNS]).to_pylist()
    return {row["row_id"]: _row_blocks(row) for row in rows if row["block_nll"]}


def difference(blocks: Blocks, row_id: object, baseline_id: object) -> Interval | None:
    """Return the paired perplexity increase of a row over a baseline, or None without one."""
    row, baseline = blocks.get(str(row_id)), blocks.get(str(baseline_id))
    if row is None or baseline is None or not row.same_blocks(baseline):
        return None
    return increase(row.nll, baseline.nll, row.tokens)


def _row_blocks(row: Mapping[str, object]) -> RowBlocks:
    names = ("block_document", "block_index", "block_tokens", "block_nll")
    return RowBlocks(int(str(row["block_size"])), *(_reals(row[name]) for name in names))


def _reals(values: object) -> Reals:
    return np.asarray(values, dtype=np.float64)
