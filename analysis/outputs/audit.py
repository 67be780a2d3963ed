"""`analysis audit`: the breaches of the rules of an honest measurement, worded for people."""

from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from analysis.drawing.captions import cache_label, dataset_name
from analysis.rows.rules import SEVERITIES, breaches

SHOWN = 6
"""Row names written out in text; the rest is counted."""
_NAMED = ("dataset", "method_label", "method", "n_sink", "window_size", "budget", "run_id")


@dataclass(frozen=True)
class Finding:
    """A broken rule and the names of the rows that break it."""

    rule: str
    severity: str
    """`error`: the numbers cannot be used; `warning`: read with care; `note`: know it."""
    message: str
    rows: tuple[str, ...]
    count: int
    """Rows that break it; as many names as were asked for are in `rows`."""

    def __str__(self) -> str:
        more = self.count - SHOWN
        names = "; ".join(self.rows[:SHOWN]) + (f"; and {more} more" if more > 0 else "")
        return f"{self.severity}: {self.rule}: {self.message}: {names}"

    def as_dict(self) -> dict[str, Any]:
        """Return the finding as plain data."""
        fields = asdict(self) | {"rows": list(self.rows)}
        return {name: value for name, value in fields.items() if name != "count"}


def audit(frame: pd.DataFrame, *, named: int | None = None) -> list[Finding]:
    """Return every finding, errors first, each naming the rows it is about.

    named: how many rows of each to name; None: all of them.
    """
    found = [
        Finding(
            *(one.rule, one.severity, one.message),
            name(frame.loc[one.rows[:named], list(_NAMED)]),
            len(one.rows),
        )
        for one in breaches(frame)
    ]
    return sorted(found, key=lambda one: SEVERITIES.index(one.severity))


def name(rows: pd.DataFrame) -> tuple[str, ...]:
    """Return a short name of each row: text, method, cache, run id."""
    names = []
    for row in rows.to_dict("records"):
        text, method = dataset_name(str(row["dataset"])), str(row["method_label"])
        parts = (text, method, cache_label(row), f"({row['run_id']})")
        names.append(" ".join(filter(None, parts)))
    return tuple(names)
