"""From the rows of a store to one tidy pandas frame.

Everything but the block lists is read here: a million rows of block lists would cost a hundred
times the rest, and only an interval or the perplexity over the position needs them
(`analysis.rows.blocks` reads those, for the rows drawn). Nothing is filled in: a value that was not
measured stays null.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from analysis.rows.blocks import on_common_blocks, read
from analysis.rows.pairing import KEYS, TEXT_CHOICES, pair, with_keys
from analysis.rows.rules import mark_unusable
from orchestrator.errors import UsageError
from orchestrator.store.query import Condition
from orchestrator.store.store import Store
from workers.contract.rows import BLOCK_COLUMNS, TRIALS
from workers.contract.spec import DEFAULTS
from workers.contract.statistics import INTERVAL_METHODS

LISTS = tuple(name for name in BLOCK_COLUMNS if name != "block_size")
UNREAD = (*LISTS, "traceback", "error_message", "log_path", "measure")
RARE = (
    "attempt",
    "schema_version",
    "reported",
    "trust_remote_code",
    "save_token_nll",
    "error_kind",
    "error_type",
    "first_token",
    "chunk_size",
    "token_forwards",
    "nll_sum",
    "perplexity_after_eviction",
    "bits_per_byte",
    "latency_ms_p99",
    "first_token_ms",
    "tokens_per_second",
    "latency_note",
    "hostname",
    "pid",
    "ray_version",
    "started_at",
    "allow_unknown_tokens",
    "empty_documents",
    "skipped_documents",
    "timing_repeats",
    "weights_format",
)
"""Columns that only an export writes."""
EVERYTHING: tuple[str, ...] = tuple(name for name in TRIALS.names if name not in UNREAD)
"""What a frame can hold of each row; `measure` shows in which values are null."""
COLUMNS: tuple[str, ...] = tuple(name for name in EVERYTHING if name not in RARE)
"""What figures, tables and the audit need."""
METHOD_LABELS = {
    "streaming": "StreamingLLM",
    "recompute": "recompute",
    "dense": "dense",
    "kvpress": "kvpress (pruned at prefill)",  # only ever reported by others
}


def load(
    store: Store, *, baseline_stride: int = 1, columns: Sequence[str] = COLUMNS
) -> pd.DataFrame:
    """Return every result of the store as a tidy, paired frame (one row per result)."""
    frame = tidy(store.results(columns=list(columns)), baseline_stride=baseline_stride)
    sampled = frame.loc[frame["baseline_blocks"].notna(), ["row_id", "quality_partner"]]
    return on_common_blocks(frame, read(store, sampled.to_numpy().ravel().tolist()))


def tidy(table: pa.Table, *, baseline_stride: int = 1) -> pd.DataFrame:
    """Turn rows of `workers.contract.rows.TRIALS` into a frame with labels, flags and pairs.

    Added columns: `method_label`, `hollow` (never streamed, or beyond the trained positions),
    `quality_unusable` and `speed_unusable` (why a number is no result; `analysis.rows.rules`)
    and what `analysis.rows.pairing.pair` derives from the numbers that can be used. Pairs with a
    sampled baseline stay empty until their blocks are read (`load`).
    """
    names = [name for name in EVERYTHING if name in table.column_names]
    table = table.select(names)
    frame = table.to_pandas(split_blocks=True, self_destruct=True)  # never held twice
    del table
    # Rows from before a choice existed took what is its default now.
    chosen = {name: frame[name].fillna(DEFAULTS[name]) for name in TEXT_CHOICES if name in frame}
    frame = without_old_intervals(frame.assign(**chosen))
    frame = with_keys(frame.reset_index(drop=True))  # once for the rules and the pairs
    frame = pair(mark_unusable(frame), stride=baseline_stride).drop(columns=list(KEYS))
    return frame.assign(method_label=method_labels(frame), hollow=hollow_rows(frame))


def without_old_intervals(frame: pd.DataFrame) -> pd.DataFrame:
    """Drop the stored bounds of rows whose interval is of another kind than today's.

    Two kinds must not stand in one figure; `analysis.rows.blocks.with_intervals` computes
    today's from the block sums of the rows that are shown.
    """
    bounds = ["perplexity_low", "perplexity_high"]
    if not {*bounds, "interval_method"} <= set(frame.columns):
        return frame
    today = frame["interval_method"].isin(INTERVAL_METHODS)
    return frame.assign(**{name: frame[name].where(today) for name in bounds})


def method_labels(frame: pd.DataFrame) -> pd.Series:
    """Name each row's method as a reader knows it; a strided or sampled recompute always is."""
    label = frame["method"].map(METHOD_LABELS).astype(object)
    window = (frame["method"] == "streaming") & (frame["n_sink"] == 0)
    label[window] = "window (0 sinks)"
    strided = (frame["method"] == "recompute") & (frame["recompute_stride"] > 1)
    stride = frame.loc[strided, "recompute_stride"].astype(int).astype(str)
    label[strided] = "recompute (stride " + stride + ")"
    sampled = (frame["method"] == "recompute") & frame["recompute_blocks"].notna()
    counts = frame.loc[sampled, "recompute_blocks"]
    label[sampled] = [f"recompute (on {int(count):,} blocks)" for count in counts]
    return label


def hollow_rows(frame: pd.DataFrame) -> pd.Series:
    """Mark streaming rows that evicted nothing or went beyond the trained positions."""
    never = (frame["method"] == "streaming") & (frame["evicted_tokens"] == 0)
    beyond = frame["beyond_training_length"].fillna(False).astype(bool)
    return never | ((frame["method"] == "streaming") & beyond)


def is_missing(value: object) -> bool:
    """Tell whether a value of a frame is null (None, NaN, NaT or NA)."""
    return (
        value is None
        or value is pd.NA
        or value is pd.NaT
        or (isinstance(value, float | np.floating) and bool(np.isnan(value)))
    )


def matching(frame: pd.DataFrame, conditions: Sequence[str]) -> pd.DataFrame:
    """Return the rows that meet every condition (`--where`, see `orchestrator.store.query`).

    Raises `UsageError` for an unknown column, a value of another type, or a condition that no row
    meets.
    """
    for text in conditions:
        condition = Condition.parse(text, [str(name) for name in frame.columns])
        column = frame[condition.column]
        values = pa.chunked_array([pa.Array.from_pandas(column)])
        kept = frame[condition.of(values).to_numpy()]
        if kept.empty and not frame.empty:
            found = ", ".join(sorted(map(str, column.dropna().unique()))[:20]) or "only null"
            raise UsageError(f"--where {text}: no row; {condition.column} has {found}")
        frame = kept
    return frame.reset_index(drop=True)
