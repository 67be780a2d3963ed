"""One thing an audit found, and how the rows it is about are named."""

from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from analysis.drawing.captions import dataset_name
from analysis.rows.frames import is_missing

SEVERITIES = ("error", "warning", "note")
SHOWN = 6
"""Row names written out in text; the rest is counted."""


@dataclass(frozen=True)
class Finding:
    """A broken rule and the rows that break it."""

    rule: str
    severity: str
    """`error`: the numbers cannot be used; `warning`: read with care; `note`: know it."""
    message: str
    rows: tuple[str, ...]

    def __str__(self) -> str:
        more = len(self.rows) - SHOWN
        names = "; ".join(self.rows[:SHOWN]) + (f"; and {more} more" if more > 0 else "")
        return f"{self.severity}: {self.rule}: {self.message}: {names}"

    def as_dict(self) -> dict[str, Any]:
        """Return the finding as plain data."""
        return asdict(self) | {"rows": list(self.rows)}


def name(rows: pd.DataFrame) -> tuple[str, ...]:
    """Return a short name of each row: text, method, cache, run id."""
    return tuple(
        f"{dataset_name(str(row['dataset']))} {row['method_label']}{_cache(row)} ({row['run_id']})"
        for row in rows.to_dict("records")
    )


def _cache(row: dict[object, object]) -> str:
    if row["method"] == "streaming" and not is_missing(row["window_size"]):
        return f" {_whole(row['n_sink'])}+{_whole(row['window_size'])}"
    return "" if is_missing(row["budget"]) else f" {_whole(row['budget'])}"


def _whole(value: object) -> int:
    return int(float(str(value)))
