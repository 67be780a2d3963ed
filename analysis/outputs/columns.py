"""The columns of `analysis table`: what each shows, its unit, its interval, how it is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.drawing import captions, numbers
from analysis.rows.blocks import Blocks, difference, with_intervals
from analysis.rows.frames import is_missing
from orchestrator.errors import UsageError
from orchestrator.grid.shape import did_you_mean

MEBIBYTE = 2**20


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column: a text, or a number with its interval."""

    name: str
    """As in `--columns`."""
    head: str
    value: str
    """Column of the prepared frame; of a number, in the frame's unit."""
    key: str = ""
    """Name in csv and json, with the unit; empty: the name itself."""
    unit: str = ""
    """Of what is written, for the head of a table."""
    low: str | None = None
    high: str | None = None
    factor: float = 1.0
    """From the frame's unit to that of `key`."""
    write: numbers.Write | None = None
    """None: a text."""
    spoilt_by: str = ""
    """Column of the frame that says why this number cannot be used."""

    @property
    def is_text(self) -> bool:
        """Tell whether the column holds words, set flush left."""
        return self.write is None

    @property
    def is_right(self) -> bool:
        """Tell whether its cells are set flush right: numbers, and caches."""
        return not self.is_text or self.name == "cache"

    @property
    def titled(self) -> str:
        """The head with its unit."""
        return f"{self.head} ({self.unit})" if self.unit else self.head

    def words(self, row: Mapping[Any, Any], *, ranges: bool, units: bool = True) -> str:
        """Write the value of a row, and its interval if asked for; a dash for what is not known."""
        if is_missing(row[self.value]):
            return "" if self.is_text else numbers.MISSING
        if self.write is None:
            value = row[self.value]
            return numbers.written(value, "") if isinstance(value, int | float) else str(value)
        bounds = [row[name] for name in (self.low, self.high) if name is not None]
        values = [row[self.value], *(bounds if ranges else ())]
        if any(is_missing(value) for value in values):
            values = values[:1]
        written = [self.write(float(value)) for value in values]
        if not units or len(written) > 1:
            bare = [text.removesuffix("×").removesuffix(" %") for text in written]  # noqa: RUF001
            written = bare if not units else [written[0], *bare[1:]]
        dagger = "" if not self.spoilt_by or is_missing(row[self.spoilt_by]) else " †"
        return written[0] + (f" [{written[1]}, {written[2]}]" if written[1:] else "") + dagger

    def figures(self, row: Mapping[Any, Any]) -> dict[str, Any]:
        """Return the value, and low and high where the column has them, in the unit of `key`."""
        names = {"": self.value, "_low": self.low, "_high": self.high}
        plain: dict[str, Any] = {}
        for suffix, name in names.items():
            if name is None:
                continue
            value: Any = None if is_missing(row[name]) else row[name]
            value = value.item() if hasattr(value, "item") else value
            if value is not None and self.write is not None and self.factor != 1:
                value = float(value) * self.factor
            is_whole = isinstance(value, float) and value.is_integer() and abs(value) < EXACT_BELOW
            plain[(self.key or self.name) + suffix] = int(value) if is_whole else value
        return plain


EXACT_BELOW = 2.0**53
"""A float from here on is no count, and hundreds of digits as a whole number."""

COLUMNS: Mapping[str, Column] = {
    one.name: one
    for one in (
        Column(name="model", head="model", value="model_name"),
        Column(name="dtype", head="number format", value="dtype"),
        Column(name="device", head="device", value="device_name"),
        Column(name="source", head="source", value="source_name"),
        Column(name="dataset", head="text", value="dataset_name"),
        Column(name="method", head="method", value="method_name"),
        Column(name="cache", head="cache", value="cache", unit="tokens"),
        Column(
            name="perplexity",
            head="perplexity",
            value="perplexity",
            low="perplexity_low",
            high="perplexity_high",
            write=numbers.perplexity_text,
            spoilt_by="quality_unusable",
        ),
        Column(
            name="runtime",
            head="runtime",
            value="runtime_ms",
            key="runtime_ms",
            unit="ms",
            low="runtime_ms_min",
            high="runtime_ms_max",
            write=numbers.milliseconds,
            spoilt_by="speed_unusable",
        ),
        Column(
            name="latency",
            head="latency",
            value="latency_ms_mean",
            key="latency_ms",
            unit="ms per token",
            write=numbers.milliseconds,
            spoilt_by="speed_unusable",
        ),
        Column(
            name="speedup",
            head="speedup",
            value="speedup",
            unit="×",  # noqa: RUF001
            low="speedup_low",
            high="speedup_high",
            write=numbers.times,
        ),
        Column(
            name="compression",
            head="compression",
            value="compression_ratio",
            key="compression_percent",
            unit="%",
            factor=100,
            write=numbers.share,
        ),
        Column(
            name="increase",
            head="perplexity increase",
            value="perplexity_increase",
            key="increase_percent",
            unit="%",
            low="increase_low",
            high="increase_high",
            factor=100,
            write=lambda value: numbers.percent(value, signed=True),
        ),
        Column(
            name="memory",
            head="peak memory",
            value="peak_memory_bytes",
            key="peak_memory_mib",
            unit="MiB",
            factor=1 / MEBIBYTE,
            write=lambda value: numbers.written(value / MEBIBYTE, ",.0f"),
        ),
        Column(name="tokens", head="tokens", value="n_tokens", write=numbers.whole),
    )
}
SUMMARY = (
    *("dataset", "method", "cache", "perplexity", "runtime", "speedup", "compression"),
    *("increase", "tokens"),
)
"""What a table shows unless other columns are asked for."""
VARYING = ("source", "model", "dtype", "device")
"""Shown in front where the rows differ in it."""
ALWAYS = (
    *("model", "model_revision", "dtype", "device_name", "n_sink", "window_size", "budget"),
    *("evicted_tokens", "hollow", "quality_unusable", "speed_unusable", "source", "sweep"),
    "run_id",
)
"""What csv and json hold besides, under the names of the store."""


def prepared(rows: pd.DataFrame, blocks: Blocks) -> pd.DataFrame:
    """Add what the columns read and a frame does not hold: names, caches, paired intervals."""
    rows = with_intervals(rows, blocks)
    records = rows.to_dict("records")
    paired = [difference(blocks, row["row_id"], row["quality_partner"]) for row in records]
    return rows.assign(
        model_name=[captions.model_name(str(row["model"])) for row in records],
        dataset_name=[captions.dataset_name(str(row["dataset"])) for row in records],
        method_name=[f"{row['method_label']}{'*' if row['hollow'] else ''}" for row in records],
        source_name=rows["source"].map({"imported": "as reported", "measured": "measured"}),
        cache=[captions.cache_words(row) for row in records],
        perplexity_increase=[
            row["perplexity_increase"] if one is None else one.value
            for row, one in zip(records, paired, strict=True)
        ],
        increase_low=[float("nan") if one is None else one.low for one in paired],
        increase_high=[float("nan") if one is None else one.high for one in paired],
    )


def chosen(names: Sequence[str], rows: pd.DataFrame) -> list[Column]:
    """Return the columns of these names, or the summary's and in front what the rows differ in.

    Any column of a frame may be named too. Raises `UsageError` for another name.
    """
    if not names:
        values = (COLUMNS[name] for name in VARYING)
        differing = [one.name for one in values if rows[one.value].nunique(dropna=False) > 1]
        names = (*differing, *SUMMARY)
    for name in names:
        if name not in COLUMNS and name not in rows.columns:
            close = did_you_mean(name, [*COLUMNS, *map(str, rows.columns)])
            hint = close or f"; there are {', '.join(COLUMNS)} and those of the store"
            raise UsageError(f"--columns: no column {name!r}{hint}")
    return [COLUMNS.get(name) or Column(name=name, head=name, value=name) for name in names]


def block_rows(rows: pd.DataFrame) -> list[str]:
    """Return the row ids whose blocks the paired intervals of a table need."""
    known = pd.concat([rows["row_id"], rows["quality_partner"]]).dropna()
    return [str(row_id) for row_id in known.unique()]
