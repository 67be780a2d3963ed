"""Random `--where` expressions over random rows, against a comparison in plain Python."""

import operator
import random
import string
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa

from orchestrator.errors import UsageError
from orchestrator.store.query import Query, select_rows
from orchestrator.store.store import Store
from tests.support.sweeps import row
from workers.contract.rows import TRIALS

OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
COLUMNS: dict[str, list[Any]] = {
    "model": ["demo", "a/b", "null", "", "ü $x$ 'q'", "1e3", None],
    "n_sink": [0, 1, 4, -1, 2**53 + 1, 2**63 - 1, None],
    "window_size": [60, 252, 1024, None],
    "perplexity": [1.0, 3.25, 1e300, float("inf"), float("nan"), -0.0, None],
    "device_shared": [True, False, None],
    "finished_at": [datetime(2026, 1, day, 12, tzinfo=timezone.utc) for day in (1, 2, 3)] + [None],
    "measure": [["quality"], ["quality", "latency"], [], None],
    "block_nll": [[1.0, 2.0], [], None],
    "error_message": ["out of memory\nline 2", "50 % = half", None],
}
N_ROWS = 12


def check(seed: int, folder: Path) -> str:
    """Compare one random expression; returns what came of it."""
    draw = random.Random(seed)
    store = Store(folder)
    rows = [
        {
            **row(number, row_id=f"{seed}-{number}"),
            **{name: draw.choice(values) for name, values in COLUMNS.items()},
        }
        for number in range(N_ROWS)
    ]
    store.append_trials(rows)
    text, column, sign, value = random_expression(draw)
    found, refusal = answer(store, text)
    assert "\n" not in refusal
    expected = None
    if column in TRIALS.names:
        expected = slow_answer(rows, column, sign, value.strip())
    assert found == expected, f"{text!r}: {found} instead of {expected}"
    return "refused" if found is None else "answered"


def answer(store: Store, text: str) -> tuple[set[str] | None, str]:
    try:
        query = Query(where=[text], columns=["row_id"], attempts=True)
        return set(select_rows(store, query)["row_id"].to_pylist()), ""
    except UsageError as error:
        return None, str(error)


def random_expression(draw: random.Random) -> tuple[str, str, str, str]:
    column = draw.choice([*COLUMNS])
    if draw.random() < 0.05:
        column = draw.choice(["", "no_such", "perplexity ppl", "model.name"])
    sign = draw.choice([*OPERATORS])
    known = draw.choice(COLUMNS.get(column, [1]))
    spelled = "+".join(map(str, known)) if isinstance(known, list) else str(known)
    letters = "".join(draw.choice(string.printable) for _ in range(draw.randint(0, 4)))
    value = draw.choice([spelled, spelled, spelled, "null", letters, "1", "60.5", "true", "-inf"])
    if draw.random() < 0.1:
        value += draw.choice(["x", ".0", " ", "00"])
    if value.lstrip()[:1] == "=" and sign in "<>=":
        value = "x"  # `<` and `=5` is `<=5`
    blank = draw.choice(["", " "])
    return f"{blank}{column}{blank}{sign}{blank}{value}", column, sign, value


def slow_answer(rows: list[dict[str, Any]], column: str, sign: str, value: str) -> set[str] | None:
    """Return the row ids that meet a condition; None if it must be refused."""
    if value == "null":
        if sign not in ("=", "!="):
            return None
        return {r["row_id"] for r in rows if (r[column] is None) == (sign == "=")}
    try:
        wanted = typed(TRIALS.field(column).type, value)
    except (ValueError, KeyError, TypeError):
        return None
    return {r["row_id"] for r in rows if meets(r[column], sign, wanted)}


def meets(held: Any, sign: str, wanted: Any) -> bool:
    if held is None:
        return sign == "!="
    if isinstance(held, list):
        held = "+".join(map(str, held))
    return OPERATORS[sign](held, wanted)


def typed(kind: pa.DataType, value: str) -> Any:
    if pa.types.is_list(kind):
        if not pa.types.is_string(kind.value_type):
            raise TypeError("a list of numbers")
        return value
    if pa.types.is_boolean(kind):
        return {"true": True, "false": False}[value.lower()]
    if pa.types.is_timestamp(kind):
        moment = datetime.fromisoformat(value)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
        return moment + timedelta(0)
    if pa.types.is_integer(kind):
        try:
            return int(value)
        except ValueError:
            return float(value)
    return float(value) if pa.types.is_floating(kind) else value
