"""Choose rows of the store for people: filters, order, columns."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.errors import UsageError
from orchestrator.grid.shape import did_you_mean
from orchestrator.store.store import SCALARS, Store
from workers.contract.rows import TRIALS

DEFAULT_COLUMNS = (
    *("model", "dataset", "method", "n_sink", "window_size", "max_tokens", "n_tokens"),
    *("perplexity", "latency_ms_p50", "runtime_ms", "evicted_tokens", "compression_ratio"),
    *("device_name", "run_id"),
)
"""What a table shows; csv and json have every column but the block lists."""
ATTEMPT_COLUMNS = (
    *("model", "dataset", "method", "n_sink", "window_size", "attempt", "status"),
    *("error_kind", "error_type", "error_message", "log_path", "run_id"),
)
_COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "=": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which rows, in which order, with which columns."""

    where: Sequence[str] = ()
    """`COLUMN=VALUE`, also with `!=`, `<`, `<=`, `>`, `>=`; `null` is what is missing."""
    sort: Sequence[str] = ()
    """Columns, the most important first; `-COLUMN` for descending."""
    columns: Sequence[str] = ()
    """Empty: `SCALARS`."""
    limit: int | None = None
    attempts: bool = False
    """Every attempt, failed ones too, instead of the results."""


def select(store: Store, selection: Selection) -> pa.Table:
    """Return the chosen rows. Raises `UsageError` for what cannot be chosen by."""
    filters = [_parse(text) for text in selection.where]
    order = [_order(text) for text in selection.sort]
    columns = [_known(name) for name in selection.columns] or list(SCALARS)
    needed = [*columns, *(name for name, _, _ in filters), *(name for name, _ in order)]
    read = store.trials if selection.attempts else store.results
    table = read(list(dict.fromkeys(needed)))
    for name, comparison, value in filters:
        table = table.filter(_matches(table[name], comparison, value))
    if order:
        table = table.sort_by(order)
    return table.slice(0, selection.limit).select(columns)


def _parse(text: str) -> tuple[str, str, str]:
    match = re.fullmatch(r"\s*([a-z_0-9]+)\s*(!=|<=|>=|=|<|>)(.*)", text, flags=re.DOTALL)
    if match is None:
        raise UsageError(f"--where: must be COLUMN=VALUE (or !=, <, <=, >, >=), got {text!r}")
    name, comparison, value = match.groups()
    return _known(name, "--where"), comparison, value.strip()


def _order(text: str) -> tuple[str, Literal["ascending", "descending"]]:
    name = text.removeprefix("-")
    if pa.types.is_list(TRIALS.field(_known(name, "--sort")).type):
        raise UsageError(f"--sort: {name} is a list; sort by another column")
    return name, "descending" if text.startswith("-") else "ascending"


def _known(name: str, option: str = "--columns") -> str:
    if name not in TRIALS.names:
        hint = did_you_mean(name, TRIALS.names) or "; sweep results --format csv shows all of them"
        raise UsageError(f"{option}: no column {name!r}{hint}")
    return name


def _matches(column: Any, comparison: str, value: str) -> Any:
    if value == "null":
        if comparison not in ("=", "!="):
            raise UsageError(f"--where: null can only be compared by = and !=, not {comparison}")
        return pc.is_null(column) if comparison == "=" else pc.is_valid(column)
    if pa.types.is_list(column.type):
        column = pc.binary_join(column, "+")
    found = _COMPARISONS[comparison](column, _scalar(value, column.type))
    # What is missing is not equal to anything, and neither smaller nor larger.
    return pc.fill_null(found, comparison == "!=")


def _scalar(value: str, kind: pa.DataType) -> Any:
    try:
        if pa.types.is_timestamp(kind):
            moment = datetime.fromisoformat(value)
            return pa.scalar(moment.replace(tzinfo=moment.tzinfo or timezone.utc), kind)
        if pa.types.is_boolean(kind):
            return pa.scalar({"true": True, "false": False}[value.lower()])
        if pa.types.is_integer(kind) or pa.types.is_floating(kind):
            return pa.scalar(float(value))
    except (ValueError, KeyError) as error:
        raise UsageError(f"--where: {value!r} is not a value of type {kind}") from error
    return pa.scalar(value, pa.string())
