"""`analysis compare`: the same evaluations in two stores or two sweeps, difference by difference.

For "did this change of code, version or machine move the numbers?": rows pair on everything
that identifies the evaluation except the version of the evaluation itself. Perplexities get a
paired interval; speeds are compared only where device, versions and timing settings agree.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from analysis.drawing.captions import dataset_name
from analysis.errors import AnalysisError
from analysis.rows.blocks import Blocks, difference
from analysis.rows.frames import is_missing
from analysis.rows.intervals import Interval
from analysis.rows.pairing import PLACE_KEYS, TEXT_KEYS, TIMING_KEYS, with_keys

SAME = (
    *(key for key in TEXT_KEYS if key not in ("eval_version", "source", "origin")),
    "method",
    "n_sink",
    "window_size",
    "recompute_stride",
)
"""What two rows must share to be the same evaluation."""


@dataclass(frozen=True)
class Difference:
    """One evaluation on both sides; b relative to a."""

    dataset: str
    method: str
    budget: int | None
    perplexity_a: float | None
    perplexity_b: float | None
    increase: float | None
    """A fraction: 0.01 is one percent more in b."""
    increase_low: float | None
    increase_high: float | None
    runtime_a: float | None
    runtime_b: float | None
    speedup: float | None
    """Of b over a; null across devices, versions or timing settings."""
    speedup_low: float | None
    speedup_high: float | None

    def as_dict(self) -> dict[str, Any]:
        """Return the difference as plain data."""
        return asdict(self)


def matched(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """Return one line per evaluation that both sides have, columns suffixed `_a` and `_b`.

    Raises `AnalysisError` if there is none.
    """
    sides = [_latest(with_keys(side)) for side in (a, b)]
    both = sides[0].merge(sides[1], on=[*SAME, "quality", "timed"], suffixes=("_a", "_b"))
    if both.empty:
        raise AnalysisError(
            "the two sides have no evaluation in common: same model and revision, number "
            "format, text and revision, method and cache"
        )
    return both.sort_values(["dataset_a", "method", "budget_a"], ignore_index=True)


def differences(both: pd.DataFrame, blocks: Blocks) -> Iterator[Difference]:
    """Yield the difference of every matched evaluation."""
    for row in both.to_dict("records"):
        yield _difference({str(name): value for name, value in row.items()}, blocks)


def _latest(side: pd.DataFrame) -> pd.DataFrame:
    side = side.assign(quality=side["perplexity"].notna(), timed=side["runtime_ms"].notna())
    order = side.sort_values("finished_at", kind="stable", na_position="first")
    return order.drop_duplicates([*SAME, "quality", "timed"], keep="last")


def _difference(row: Mapping[str, Any], blocks: Blocks) -> Difference:
    interval = difference(blocks, row["row_id_b"], row["row_id_a"])
    if interval is None and row["quality"]:
        ratio = row["perplexity_b"] / row["perplexity_a"] - 1
        interval = Interval(ratio, float("nan"), float("nan"))
    comparable = row["timed"] and _same_place(row)
    return Difference(
        dataset=dataset_name(str(row["dataset_a"])),
        method=str(row["method_label_a"]),
        budget=None if is_missing(row["budget_a"]) else int(row["budget_a"]),
        perplexity_a=_known(row["perplexity_a"]),
        perplexity_b=_known(row["perplexity_b"]),
        increase=_known(interval.value) if interval else None,
        increase_low=_known(interval.low) if interval else None,
        increase_high=_known(interval.high) if interval else None,
        runtime_a=_known(row["runtime_ms_a"]),
        runtime_b=_known(row["runtime_ms_b"]),
        speedup=_known(row["runtime_ms_a"] / row["runtime_ms_b"]) if comparable else None,
        speedup_low=_ratio(row, "min", "max") if comparable else None,
        speedup_high=_ratio(row, "max", "min") if comparable else None,
    )


def _same_place(row: Mapping[str, Any]) -> bool:
    if is_missing(row["device_name_a"]) or False in _full(row):
        return False
    pairs = [(row[f"{key}_a"], row[f"{key}_b"]) for key in (*PLACE_KEYS, *TIMING_KEYS)]
    return all(one == other or (is_missing(one) and is_missing(other)) for one, other in pairs)


def _full(row: Mapping[str, Any]) -> list[Any]:
    return [row["latency_full_budget_a"], row["latency_full_budget_b"]]


def _ratio(row: Mapping[str, Any], above: str, below: str) -> float | None:
    return _known(row[f"runtime_ms_{above}_a"] / row[f"runtime_ms_{below}_b"])


def _known(value: Any) -> float | None:
    return None if is_missing(value) else float(value)
