"""The block sums of single rows, and paired intervals between two of them."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from analysis.rows.intervals import (
    Interval,
    Reals,
    bounded_perplexity,
    growth,
    increase,
    is_difference,
)
from orchestrator.store.part_files import part_names
from orchestrator.store.store import TRIALS_FOLDER, Store
from workers.contract.rows import BLOCK_COLUMNS
from workers.contract.statistics import TOO_LITTLE, exponential


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

    def on(self, other: "RowBlocks") -> "RowBlocks | None":
        """Return the blocks that the other row has; None unless all of them are here, whole.

        The other row may hold a sample of this one's blocks (`recompute_blocks`).
        """
        names = (*zip(self.document, self.index, strict=True),)
        wanted = {*zip(other.document, other.index, strict=True)}
        chosen = np.array([name in wanted for name in names], dtype=bool)
        here = RowBlocks(
            self.size, *(v[chosen] for v in (self.document, self.index, self.tokens, self.nll))
        )
        is_whole = (
            self.size == other.size
            and np.array_equal(here.document, other.document)
            and np.array_equal(here.index, other.index)
            and np.array_equal(here.tokens, other.tokens)
        )
        return here if is_whole else None


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
    names = ("block_document", "block_index", "block_tokens", "block_nll")
    found = {}
    for row in (row for row in rows if row["block_nll"]):
        arrays = (np.asarray(row[name], dtype=np.float64) for name in names)
        found[row["row_id"]] = RowBlocks(int(row["block_size"]), *arrays)
    return found


def difference(blocks: Blocks, row_id: object, baseline_id: object) -> Interval | None:
    """Return the paired perplexity increase of a row over a baseline, or None without one."""
    row, baseline = blocks.get(str(row_id)), blocks.get(str(baseline_id))
    common = None if row is None or baseline is None else row.on(baseline)
    if common is None or baseline is None:
        return None
    return increase(common.document, common.nll, baseline.nll, common.tokens)


def on_common_blocks(frame: pd.DataFrame, blocks: Blocks) -> pd.DataFrame:
    """Fill in what pairs with a sampled baseline say: on the blocks of the sample alone.

    `perplexity_increase` is that of the common blocks. `baseline_perplexity` becomes what the
    baseline has on the whole text as the sample estimates it: the row's own perplexity without
    the increase (a ratio estimate; Cochran, chapter 6).
    """
    pairs = frame.loc[frame["baseline_blocks"].notna(), ["row_id", "quality_partner"]]
    filled = frame["perplexity_increase"].copy()
    for index, (row_id, partner) in zip(pairs.index, pairs.to_numpy(), strict=True):
        row, baseline = blocks.get(str(row_id)), blocks.get(str(partner))
        common = None if row is None or baseline is None else row.on(baseline)
        if common is not None and baseline is not None and len(common.tokens):
            filled[index] = growth(float((common.nll - baseline.nll).sum() / common.tokens.sum()))
    estimated = (frame["perplexity"] / (1 + filled)).where(frame["baseline_blocks"].notna())
    return frame.assign(
        perplexity_increase=filled,
        baseline_perplexity=frame["baseline_perplexity"].fillna(estimated),
    )


def on_same_tokens(rows: pd.DataFrame, blocks: Blocks) -> pd.DataFrame:
    """Return rows whose perplexities are those on the tokens of their sampled baseline.

    For charts that show both side by side. Rows with a full baseline or none stay as they are.
    """
    sums, changed = {**blocks}, rows["perplexity"].tolist()
    is_sampled = rows["baseline_blocks"].notna().tolist()
    pairs = rows[["row_id", "quality_partner"]].to_numpy()
    for place, (row_id, partner) in enumerate(pairs):
        row, baseline = blocks.get(str(row_id)), blocks.get(str(partner))
        common = None if row is None or baseline is None else row.on(baseline)
        if is_sampled[place] and common is not None and len(common.tokens):
            sums[str(row_id)] = common
            changed[place] = exponential(float(common.nll.sum() / common.tokens.sum()))
    return with_intervals(rows.assign(perplexity=changed), sums)


def with_intervals(rows: pd.DataFrame, blocks: Blocks) -> pd.DataFrame:
    """Return the rows with the interval of every perplexity whose blocks were read.

    So rows that were measured before this kind of interval existed get it as well.
    """
    columns = ["perplexity_low", "perplexity_high", "interval_method"]
    bounds = rows[columns].astype(object).to_numpy().tolist()
    for place, row_id in enumerate(rows["row_id"]):
        if (one := blocks.get(str(row_id))) is not None:
            found = bounded_perplexity(one.document, one.nll, one.tokens)
            known = [found.low, found.high, found.method] if found else [None, None, TOO_LITTLE]
            bounds[place] = known
    computed = pd.DataFrame(bounds, index=rows.index, columns=columns, dtype=object)
    bounds_as_numbers = {name: pd.to_numeric(computed[name]) for name in columns[:2]}
    return rows.assign(**bounds_as_numbers, interval_method=computed["interval_method"])


@dataclass(frozen=True)
class Lead:
    """The lowest of several perplexities, and the rows that it cannot be told from."""

    best: str
    """Row id."""
    tied: tuple[str, ...]
    """Row ids whose paired difference to the best is within its interval, or has none."""
    is_known: bool = True
    """Whether an interval says of each that is tied that it is."""

    @property
    def is_alone(self) -> bool:
        """Tell whether the best may be marked as the best: it differs from every other."""
        return not self.tied


def lead(perplexities: Mapping[str, float], blocks: Blocks) -> Lead | None:
    """Return who leads among perplexities by row id; None of none."""
    if not perplexities:
        return None
    best = min(perplexities, key=lambda row_id: perplexities[row_id])
    others = (row_id for row_id in perplexities if row_id != best)
    found = {other: difference(blocks, other, best) for other in others}
    tied = {other: one for other, one in found.items() if not is_difference(one)}
    return Lead(best, tuple(tied), None not in tied.values())
