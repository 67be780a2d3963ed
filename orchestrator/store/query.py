"""Choose rows for people: filters, order, columns.

`--where` is one language, for `sweep` over the columns of the store and for `analysis` over those
of its frames: COLUMN, an operator, VALUE. A value has the type of its column; `null` is what is
missing, which is not equal to anything and neither smaller nor larger.
"""

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
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
_BEYOND = 2**63
"""No column holds such a whole number."""


@dataclass(frozen=True)
class Condition:
    """One `--where`."""

    column: str
    operator: str
    value: str

    @classmethod
    def parse(cls, text: str, known: Collection[str]) -> "Condition":
        """Read `COLUMN=VALUE`; known: the columns there are. Raises `UsageError`."""
        match = re.fullmatch(r"\s*(\w+)\s*(!=|<=|>=|=|<|>)(.*)", text, flags=re.DOTALL)
        if match is None:
            raise UsageError(f"--where: must be COLUMN=VALUE (or !=, <, <=, >, >=), got {text!r}")
        column, operator, value = match.groups()
        return cls(known_column(column, known, "--where"), operator, value.strip())

    def of(self, column: Any) -> Any:
        """Tell for every value of an Arrow column whether it meets the condition, never null.

        Raises `UsageError` if the value is none of the column's type.
        """
        if self.value == "null":
            if self.operator not in ("=", "!="):
                raise UsageError(
                    f"--where: null can only be compared by = and !=, not {self.operator}"
                )
            return pc.is_null(column) if self.operator == "=" else pc.is_valid(column)
        if pa.types.is_list(column.type):
            if not pa.types.is_string(column.type.value_type):
                raise UsageError(
                    f"--where: {self.column} is a list of numbers; compare it with null alone"
                )
            column = pc.binary_join(column, "+")
        if pa.types.is_null(column.type):
            return pc.is_valid(column) if self.operator != "!=" else pc.is_null(column)
        value = self._scalar(column.type)
        if pa.types.is_integer(column.type) and pa.types.is_floating(value.type):
            column = column.cast(pa.float64(), safe=False)
        found = _COMPARISONS[self.operator](column, value)
        return pc.fill_null(found, self.operator == "!=")

    def _scalar(self, kind: pa.DataType) -> Any:
        value = self.value
        try:
            if pa.types.is_timestamp(kind):
                moment = datetime.fromisoformat(value)
                return pa.scalar(moment.replace(tzinfo=moment.tzinfo or timezone.utc), kind)
            if pa.types.is_boolean(kind):
                return pa.scalar({"true": True, "false": False}[value.lower()])
            if pa.types.is_integer(kind):
                return pa.scalar(_whole_number(value))
            if pa.types.is_floating(kind):
                return pa.scalar(float(value))
        except (ValueError, KeyError) as error:
            message = f"--where {self.column}: {value!r} is not a value of type {kind}"
            raise UsageError(message) from error
        return pa.scalar(value, pa.string())


def _whole_number(text: str) -> int | float:
    """Read what whole numbers are compared with: exactly, where a float would round."""
    try:
        number: int | float = int(text)
    except ValueError:
        number = float(text)
    if not math.isfinite(number):
        return number
    if abs(number) >= _BEYOND:
        return math.copysign(math.inf, number)
    return int(number) if number == int(number) else number


@dataclass(frozen=True, kw_only=True)
class Query:
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


def select_rows(store: Store, query: Query) -> pa.Table:
    """Return the chosen rows. Raises `UsageError` for what cannot be chosen by."""
    filters = [Condition.parse(text, TRIALS.names) for text in query.where]
    order: list[tuple[str, Literal["ascending", "descending"]]] = []
    for text in query.sort:
        column = known_column(text.removeprefix("-"), TRIALS.names, "--sort")
        if pa.types.is_list(TRIALS.field(column).type):
            raise UsageError(f"--sort: {column} is a list; sort by another column")
        order.append((column, "descending" if text.startswith("-") else "ascending"))
    columns = [known_column(name, TRIALS.names, "--columns") for name in query.columns]
    columns = columns or list(SCALARS)
    needed = [*columns, *(item.column for item in filters), *(name for name, _ in order)]
    read = store.trials if query.attempts else store.results
    table = read(list(dict.fromkeys(needed)))
    for condition in filters:
        table = table.filter(condition.of(table[condition.column]))
    if order:
        table = table.sort_by(order)
    return table.slice(0, query.limit).select(columns)


def known_column(name: str, known: Collection[str], option: str) -> str:
    """Return the name of a column that there is. Raises `UsageError` with what was meant."""
    if name not in known:
        hint = did_you_mean(name, list(known)) or f"; columns: {', '.join(sorted(known))}"
        raise UsageError(f"{option}: no column {name!r}{hint}")
    return name
