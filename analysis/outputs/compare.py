"""`analysis compare`: the same evaluations in two stores or two sweeps, difference by difference.

For "did this change of code, version or machine move the numbers?": rows pair on everything
that identifies the evaluation except the version of the evaluation itself. Perplexities get a
paired interval; speeds are compared only where device, versions and timing settings agree.
"""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from analysis.drawing.captions import dataset_name, model_name
from analysis.errors import AnalysisError
from analysis.rows import published
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
    "recompute_blocks",
)
"""What two rows must share to be the same evaluation."""
KINDS = ("quality", "timed")
"""A row that was only timed is not compared with one that was only scored."""


@dataclass(frozen=True)
class Difference:
    """One evaluation on both sides; b relative to a."""

    model: str
    dataset: str
    method: str
    n_sink: int | None
    window_size: int | None
    budget: int | None
    device_a: str | None
    device_b: str | None
    is_same_row: bool
    """Both sides hold the very same measurement."""
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

    @property
    def name(self) -> str:
        """Model, text, method, sinks, window and devices: what was evaluated where."""
        return _name(self, list(dict.fromkeys((self.device_a, self.device_b))))

    def as_dict(self) -> dict[str, Any]:
        """Return the difference as plain data."""
        return asdict(self)


def matched(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """Return one line per evaluation that both sides have, columns suffixed `_a` and `_b`.

    Raises `AnalysisError` if there is none.
    """
    left, right = (  # of several rows the latest, which is then the last
        _kinds(with_keys(side)).sort_values("finished_at", kind="stable", na_position="first")
        for side in (a, b)
    )
    ids = []
    # The same row first, then the same machine and timing, then whatever is the same evaluation.
    for keys in (["row_id"], [*SAME, *PLACE_KEYS, *TIMING_KEYS], list(SAME)):
        on = [*keys, *KINDS]
        sides = [
            side.drop_duplicates(on, keep="last")[on].assign(**{name: side["row_id"]})
            for side, name in ((left, "row_id_a"), (right, "row_id_b"))
        ]
        found = sides[0].merge(sides[1], on=on)
        ids.append(found[["row_id_a", "row_id_b"]])
        left = left[~left["row_id"].isin(found["row_id_a"])]
        right = right[~right["row_id"].isin(found["row_id_b"])]
    both = pd.concat(ids).merge(_kinds(with_keys(a)).add_suffix("_a"), on="row_id_a")
    both = both.merge(_kinds(with_keys(b)).add_suffix("_b"), on="row_id_b")
    if both.empty:
        raise AnalysisError(
            "the two sides have no evaluation in common: same model and revision, number "
            "format, text and revision, method and cache"
        )
    return both.sort_values(["model_a", "dataset_a", "method_a", "budget_a"], ignore_index=True)


def differences(both: pd.DataFrame, blocks: Blocks) -> Iterator[Difference]:
    """Yield the difference of every matched evaluation."""
    for row in both.to_dict("records"):
        interval = difference(blocks, row["row_id_b"], row["row_id_a"])
        if interval is None and row["quality_b"]:
            ratio = row["perplexity_b"] / row["perplexity_a"] - 1
            interval = Interval(ratio, float("nan"), float("nan"))
        comparable = row["timed_b"] and _same_place(row)
        yield Difference(
            model=model_name(str(row["model_a"])),
            dataset=dataset_name(str(row["dataset_a"])),
            method=str(row["method_label_a"]),
            n_sink=_count(row["n_sink_a"]),
            window_size=_count(row["window_size_a"]),
            budget=_count(row["budget_a"]),
            device_a=None if is_missing(row["device_name_a"]) else str(row["device_name_a"]),
            device_b=None if is_missing(row["device_name_b"]) else str(row["device_name_b"]),
            is_same_row=row["row_id_a"] == row["row_id_b"],
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


def _kinds(side: pd.DataFrame) -> pd.DataFrame:
    return side.assign(quality=side["perplexity"].notna(), timed=side["runtime_ms"].notna())


@dataclass(frozen=True)
class Published:
    """One of our results beside what was published of the same configuration."""

    model: str
    dataset: str
    method: str
    n_sink: int | None
    window_size: int | None
    device: str | None
    measure: str
    """`perplexity` or `latency_ms`."""
    ours: float | None
    published: float
    where: str
    """The table or figure, and the device of a time."""

    @property
    def name(self) -> str:
        """Model, text, method, sinks, window and device: what was evaluated where."""
        return _name(self, [self.device])

    def as_dict(self) -> dict[str, Any]:
        """Return the pair as plain data."""
        return asdict(self)


def with_published(frame: pd.DataFrame) -> Iterator[Published]:
    """Yield every result of which a number was published: same model, method, text and cache."""
    for row in frame.to_dict("records"):
        model, method = str(row["model"]), str(row["method"])
        cache = (_count(row["n_sink"]), _count(row["window_size"]))
        for known in published.perplexities(model, method, str(row["dataset"])):
            if (known["n_sink"], known["window_size"]) == cache:
                yield _beside(row, "perplexity", row["perplexity"], known)
        for known in published.data()["latencies"]:
            same = (known["model"], known["method"], known["budget"])
            if same == (published.base_name(model), method, _count(row["budget"])):
                yield _beside(row, "latency_ms", row["latency_ms_mean"], known)


def _beside(
    row: Mapping[Hashable, Any], measure: str, ours: Any, known: Mapping[str, Any]
) -> Published:
    place = f", {known['device']}" if "device" in known else ""
    return Published(
        model=model_name(str(row["model"])),
        dataset=dataset_name(str(row["dataset"])),
        method=str(row["method_label"]),
        n_sink=_count(row["n_sink"]),
        window_size=_count(row["window_size"]),
        device=None if is_missing(row["device_name"]) else str(row["device_name"]),
        measure=measure,
        ours=_known(ours),
        published=float(known[measure]),
        where=f"{known['where']}{place}",
    )


def _name(one: "Difference | Published", devices: list[str | None]) -> str:
    cache = "" if one.window_size is None else f", {one.n_sink} sinks, window {one.window_size:,}"
    places = " -> ".join(device or "unknown device" for device in devices)
    return f"{one.model}, {one.dataset}, {one.method}{cache}, {places}"


def _count(value: Any) -> int | None:
    return None if is_missing(value) else int(value)


def _same_place(row: Mapping[Hashable, Any]) -> bool:
    is_full = [row["latency_full_budget_a"], row["latency_full_budget_b"]]
    if is_missing(row["device_name_a"]) or False in is_full:
        return False
    pairs = [(row[f"{key}_a"], row[f"{key}_b"]) for key in (*PLACE_KEYS, *TIMING_KEYS)]
    return all(one == other or (is_missing(one) and is_missing(other)) for one, other in pairs)


def _ratio(row: Mapping[Hashable, Any], above: str, below: str) -> float | None:
    return _known(row[f"runtime_ms_{above}_a"] / row[f"runtime_ms_{below}_b"])


def _known(value: Any) -> float | None:
    return None if is_missing(value) else float(value)
