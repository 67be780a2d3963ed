"""Which rows may stand in one figure, and what has to be said about those that may not.

A store holds whatever was swept into it: several models, number formats, devices. One figure
shows one comparable group: one model at one number format, speeds from one kind of device with
one set of timing settings, each text at one revision and length. Reported results are a group of
their own: measured ones never stand in it. The group with the most results is taken unless the
user names another; what was left out is returned as facts, for the caption.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.errors import MissingRowsError
from analysis.rows.arrays.grouping import combined, group_numbers
from analysis.rows.frames import is_missing
from analysis.rows.pairing import (
    EVALUATION_COLUMNS,
    PLACE_KEYS,
    TEXT_CHOICES,
    TIMING_KEYS,
    newest,
    reported_set,
)
from orchestrator.errors import UsageError

MODEL_KEYS = ("source", "reported_set", "model", "model_revision", "dtype", "eval_version")
CORPUS_KEYS = ("dataset_revision", "split", "max_documents", "max_tokens", *TEXT_CHOICES)
SPEED_COLUMNS = (
    "latency_ms_mean",
    "latency_ms_p50",
    "latency_ms_p90",
    "runtime_ms",
    "runtime_ms_min",
    "runtime_ms_max",
    "peak_memory_bytes",
    "speedup",
    "speedup_low",
    "speedup_high",
    "speed_unusable",
)
_WEIGHED = (
    *(*MODEL_KEYS, *CORPUS_KEYS, *PLACE_KEYS, *TIMING_KEYS, *EVALUATION_COLUMNS),
    *("n_tokens", "run_id", "finished_at", "quality_partner", "speed_partner"),
)
FACETS = {"model": "model", "text": "dataset", "device": "device_name", "dtype": "dtype"}
"""What several values may be told apart by, and the column that holds them."""
QUICKSTART = "sweep launch --grid quickstart --store"


@dataclass(frozen=True)
class Selection:
    """The rows of one comparable group, what they share, and what stayed outside."""

    rows: pd.DataFrame
    setting: Mapping[str, Any]
    """The shared model, number format, device and timing settings."""
    left_out: tuple[tuple[str, int], ...]
    """(reason key, number of rows), reasons as in `analysis.drawing.texts`."""
    store: str = "results"
    """The store's name, for commands in messages."""
    text: str | None = None
    """The text that figures of a single one show where they can: the same in one run."""
    baseline_stride: int = 1
    """`recompute_stride` of the baseline; every label shows it when it is not 1."""

    @property
    def is_reported(self) -> bool:
        """Whether somebody else measured all of this: nothing was checked here."""
        return bool(self.setting["source"] == "imported")


def choose(
    frame: pd.DataFrame, *, device: str | None = None, store: str = "results", stride: int = 1
) -> Selection:
    """Return the largest comparable group of the frame.

    Raises `MissingRowsError` for a frame without rows and `UsageError` for a device that no
    row was measured on.
    """
    if frame.empty:
        raise MissingRowsError(f"the store {store} holds no results", f"{QUICKSTART} {store}")
    weighed = _weighed(on_device(frame, device))
    return _choose(frame, weighed, len(frame) - len(weighed), store, stride)


def _weighed(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the columns by which a group is chosen: the others of many rows would be copied."""
    return frame[[name for name in dict.fromkeys(_WEIGHED) if name in frame]]


def _choose(
    frame: pd.DataFrame, here: pd.DataFrame, other_device: int, store: str, stride: int
) -> Selection:
    """Return the largest group among `here`, `_weighed` rows of the frame.

    other_device: how many rows are not among them because of their device.
    """
    alike = _largest(here, MODEL_KEYS)
    # One revision, split and length of each data set.
    kept = _largest(alike, CORPUS_KEYS, within="dataset")
    placed, in_place, elsewhere, retimed = _one_place(kept)
    repeated = _without_repeats(placed, in_place)
    robbed = kept["runtime_ms"].notna() & placed["runtime_ms"].isna()
    chosen = repeated[newest(repeated, robbed.loc[repeated.index])].index.sort_values()
    rows = frame.loc[chosen]
    rows.loc[robbed.loc[chosen], list(SPEED_COLUMNS)] = None
    left_out = {
        "other_device": other_device,
        "other_model": len(here) - len(alike),
        "other_text": len(alike) - len(kept),
        "speed_elsewhere": elsewhere,
        "speed_retimed": retimed,
        "other_seed": len(repeated) - len(rows),
    }
    return Selection(
        rows=rows.reset_index(drop=True),
        setting=_setting(rows),
        left_out=tuple((reason, count) for reason, count in left_out.items() if count),
        store=store,
        baseline_stride=stride,
    )


def each(frame: pd.DataFrame, *, store: str = "results", stride: int = 1) -> list[Selection]:
    """Return every comparable group: each model at each number format on each device.

    Raises `MissingRowsError` for a frame without rows.
    """
    if frame.empty:
        return [choose(frame, store=store, stride=stride)]
    keys = [*MODEL_KEYS, "device_name"]
    weighed = _weighed(frame)
    keyed = _stated(weighed.assign(reported_set=reported_set(frame)), MODEL_KEYS)
    groups = keyed.groupby(keys, dropna=False, sort=True).ngroup()
    places = groups.groupby(groups, sort=True).indices
    return [_choose(frame, weighed.iloc[rows], 0, store, stride) for rows in places.values()]


def split(
    frame: pd.DataFrame, by: str, *, store: str = "results", stride: int = 1
) -> dict[str, Selection]:
    """Return the largest comparable group of each value of `by`, a key of `FACETS`.

    Raises `MissingRowsError` for a frame without rows.
    """
    # By their places: the groups themselves would be another copy of the frame.
    places = frame.groupby(FACETS[by], sort=True).indices
    if not places:
        return {"": choose(frame, store=store, stride=stride)}
    weighed = _weighed(frame)
    return {
        str(value): _choose(frame, weighed.iloc[rows], 0, store, stride)
        for value, rows in places.items()
    }


def spread(frame: pd.DataFrame) -> list[str]:
    """Return which of model, number format and device have several values with compared results."""
    compared = frame["quality_partner"].notna() | frame["speed_partner"].notna()
    names = ("model", "dtype", "device")
    return [name for name in names if frame.loc[compared, FACETS[name]].nunique() > 1]


def fullest(groups: Mapping[str, Selection], most: int) -> dict[str, Selection]:
    """Keep the groups with the most compared results, in the order in which they came."""
    weight = {name: int(_useful(group.rows).sum()) for name, group in groups.items()}
    kept = sorted(groups, key=lambda name: -weight[name])[:most]
    return {name: group for name, group in groups.items() if name in kept}


def on_one_text(groups: Mapping[str, Selection]) -> dict[str, Selection]:
    """Let all figures of a single text show the same: of most configurations, then the longest."""
    if not groups:
        return {}
    rows = pd.concat([group.rows for group in groups.values()])
    ours = rows[rows["method"].eq("streaming")]
    if ours.empty:
        return dict(groups)
    size = ours.assign(pairs=ours["quality_partner"].notna()).groupby("dataset")
    order = size.agg(
        windows=("window_size", "nunique"),
        sinks=("n_sink", "nunique"),
        pairs=("pairs", "sum"),
        tokens=("n_tokens", "max"),
    ).fillna(0)
    order = order.assign(kinds=(order["windows"] > 1).astype(int) + (order["sinks"] > 1))
    best = order.sort_values(["kinds", "pairs", "windows", "tokens"], kind="stable").index[-1]
    return {name: replace(group, text=str(best)) for name, group in groups.items()}


def devices(frame: pd.DataFrame) -> list[str]:
    """Return the names of the devices that rows were measured on."""
    return sorted(frame["device_name"].dropna().unique())


def on_device(frame: pd.DataFrame, device: str | None) -> pd.DataFrame:
    """Return the rows that this device measured. Raises `UsageError` for an unknown one."""
    if device is None:
        return frame
    rows = frame[frame["device_name"] == device]
    if rows.empty:
        known = ", ".join(map(repr, devices(frame))) or "no device"
        raise UsageError(f"--device: no row was measured on {device!r}; the store has {known}")
    return rows


def _largest(rows: pd.DataFrame, keys: tuple[str, ...], within: str = "") -> pd.DataFrame:
    """Return the rows of the group that has the most results, the latest one among equals.

    within: of each value of this column the largest group.
    """
    keyed = _stated(rows.assign(reported_set=reported_set(rows)), keys)
    apart = group_numbers(keyed, [within]) if within else np.zeros(len(rows), np.int64)
    group = combined([apart, group_numbers(keyed, keys)])
    if group.max() == apart.max():  # one group, as most often: nothing to weigh
        return rows
    known = {"group": group, "apart": apart, "useful": _useful(rows).to_numpy()}
    weight = pd.DataFrame({**known, "latest": rows["finished_at"].array}).groupby("group")
    order = weight.agg(apart=("apart", "first"), useful=("useful", "sum"), latest=("latest", "max"))
    order = order.sort_values(["useful", "latest"], na_position="first", kind="stable")
    best = order.index[~order["apart"].duplicated(keep="last")]
    chosen: pd.DataFrame = rows[np.isin(group, best)]
    return chosen


def _stated(rows: pd.DataFrame, keys: tuple[str, ...]) -> pd.DataFrame:
    """Fill what an imported file does not state by what others of its set state alone.

    For grouping only: an ablation without `dtype` is not another number format.
    """
    imported = rows[rows["source"].eq("imported")]
    if imported.empty:
        return rows
    same = imported.groupby(["reported_set", "model", "dataset", "n_tokens"], dropna=False)
    rows = rows.copy()
    for key in (key for key in keys if imported[key].isna().any()):
        alone = same[key].transform("nunique").eq(1)
        known = same[key].transform("first").where(alone)
        rows[key] = rows[key].where(rows[key].notna(), known.reindex(rows.index))
    return rows


def _useful(rows: pd.DataFrame) -> pd.Series:
    return 1 + rows["quality_partner"].notna().astype(int) + rows["speed_partner"].notna()


def _one_place(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series, int, int]:
    """Keep the runtimes of one device and one set of timing settings; perplexities stay.

    Returns the rows, which of them are of that device, and how many lost their speeds to another
    device and to other settings.
    """
    timed = rows[rows["runtime_ms"].notna()]
    if timed.empty:
        return rows, pd.Series(data=True, index=rows.index), 0, 0
    here = _agree(rows, _largest(timed, PLACE_KEYS), PLACE_KEYS)
    kept = rows.loc[timed.index[here[timed.index]]]
    same = here & _agree(rows, _largest(kept, TIMING_KEYS), TIMING_KEYS)
    lost = rows.index.isin(timed.index) & ~same
    elsewhere, retimed = int((lost & ~here).sum()), int((lost & here).sum())
    rows = rows.assign(runtime_ms=rows["runtime_ms"].where(~lost))
    return rows, here, elsewhere, retimed


def _agree(rows: pd.DataFrame, group: pd.DataFrame, keys: tuple[str, ...]) -> pd.Series:
    """Tell which rows have the keys that all rows of the group share."""
    agree = pd.Series(data=True, index=rows.index)
    for key in keys:
        value = group[key].iloc[0]
        agree &= rows[key].isna() if is_missing(value) else rows[key].eq(value).fillna(False)
    return agree.astype(bool)


def _without_repeats(rows: pd.DataFrame, here: pd.Series) -> pd.DataFrame:
    """Keep one row of each run id: the one with speeds, from here, the latest; the latest last."""
    order = rows.assign(here=here, timed=rows["runtime_ms"].notna())
    order = order.sort_values(["timed", "here", "finished_at"], na_position="first", kind="stable")
    return rows.loc[order.drop_duplicates("run_id", keep="last").index]


def _setting(rows: pd.DataFrame) -> dict[str, Any]:
    """Return the shared values; speeds speak for the device where there are any."""
    timed = rows[rows["runtime_ms"].notna()]
    source = rows if timed.empty else timed
    source = source.assign(reported_set=reported_set(source))
    names = (*MODEL_KEYS, *PLACE_KEYS, *TIMING_KEYS)
    values = {name: source[name].iloc[0] for name in names}
    stated = source["dtype"].dropna()
    values["dtype"] = None if stated.empty else stated.iloc[0]
    if timed.empty and source["device_name"].nunique(dropna=False) > 1:
        values["device_name"] = None
    return {name: None if is_missing(value) else value for name, value in values.items()}
