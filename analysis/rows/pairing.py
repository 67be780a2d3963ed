"""Which two rows may be compared, and what follows from a pair.

Speedups and perplexity increases exist nowhere but here. A streaming row's partner is the
`recompute` row of the same budget on the same model and data. Perplexities need no more than
that; speeds also need the same device, thread count, torch and CUDA version and timing
settings. A row without a partner has nulls, never a guess. A baseline on a sample of the blocks
(`recompute_blocks`) is a partner where no full one is, on its own tokens alone.

The first publication of the experiment behind this project compared a cold process with a warm
one and a configuration that never evicted with itself; these rules are what prevents both.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.rows.arrays.grouping import Codes, combined, group_numbers
from workers.contract.file_datasets import FILE_PREFIX, split_file_dataset
from workers.contract.spec import (
    RANDOM_MODEL_PREFIX,
    is_local_model,
)

TEXT_CHOICES = ("bos", "special_tokens")
"""Fields of the spec that say how a text becomes tokens; null in rows from before them."""
TEXT_KEYS = (
    "source",
    "origin",
    "model_key",
    "model_revision",
    "dtype",
    "dataset_key",
    "dataset_revision",
    "split",
    "max_documents",
    "max_tokens",
    "eval_version",
    "seed_key",
    *TEXT_CHOICES,
)
"""Perplexities are comparable where these agree."""

PLACE_KEYS = ("device_name", "num_threads", "torch_version", "cuda_version")
TIMING_KEYS = ("decode_tokens", "warmup_tokens", "repeats", "latency_recorded")
"""Speeds are comparable where these and the text keys agree as well."""

_METHOD_KEYS = ("method", "n_sink", "window_size", "recompute_stride", "latency_full_budget")
_MEASURED = ("perplexity", "runtime_ms", "prefill_ms", "attention_layers")
EVALUATION_COLUMNS = (
    *("source", "sweep", "model", "model_revision", "dtype", "dataset", "dataset_revision"),
    *("split", "max_documents", "max_tokens", "eval_version", "seed", *TEXT_CHOICES),
    *("recompute_blocks", *TIMING_KEYS, *_METHOD_KEYS, "run_id", *_MEASURED),
)
"""What `newest` reads."""

_NEEDED = (
    "source",
    "method",
    "recompute_stride",
    "recompute_blocks",
    "budget",
    "perplexity",
    "runtime_ms",
    "latency_full_budget",
    "device_name",
    "finished_at",
    "quality_unusable",
    "speed_unusable",
)
NOT_FULL = "the cache was not full at the timed positions"
NO_PARTNER = "no recompute row of the same budget, device and timing settings"
UNUSABLE = "the time cannot be used: {reason}"


def pair(frame: pd.DataFrame, *, stride: int = 1) -> pd.DataFrame:
    """Return the frame with what its pairs say; one row stays one row, in the same order.

    A number that `analysis.rows.rules.mark_unusable` calls unusable is in no pair. `stride` is the
    `recompute_stride` of the baseline; anything but 1 must be labelled where it is shown.
    Added columns: `quality_partner`, `baseline_perplexity`, `perplexity_increase` (a fraction),
    `baseline_blocks` (of a sampled baseline: how many blocks it has; the two numbers before are
    null then, and `analysis.rows.blocks.on_common_blocks` computes them from the blocks),
    `speed_partner`, `baseline_runtime_ms`, `speedup`, `speedup_low`, `speedup_high` (from the
    extremes over the repeats) and `speed_note` (why there is none).
    """
    keyed = _with_groups(with_keys(frame))
    sound = keyed[keyed["quality_unusable"].isna()]
    quality = _partners(sound, stride, "perplexity", "text")
    nearby = _partners(sound, stride, "perplexity", "text_and_place")
    # Speeds: at a full cache, and on a known device where we measured.
    full = keyed["latency_full_budget"].astype(object).ne(False)
    known = keyed["device_name"].notna() | keyed["source"].eq("imported")
    timed = keyed[full & known & keyed["speed_unusable"].isna()]
    speed = _partners(timed, stride, "runtime_ms", "speed")
    # The baseline of the same machine where there is one: same numerics, same kernels.
    quality = nearby.reindex(frame.index).fillna(quality.reindex(frame.index))
    speed = speed.reindex(frame.index)
    imported = keyed[keyed["source"].eq("imported")]
    if len(imported):
        quality = _reported(imported, "quality").reindex(frame.index).fillna(quality)
        speed = _reported(imported, "speed").reindex(frame.index).fillna(speed)
    return _with_partners(frame, quality, speed)


def _reported(imported: pd.DataFrame, what: str) -> pd.Series:
    """Return the partners that imported files name themselves: each has at most one baseline.

    Such a pair is a report, whatever windows and strides it compares; `source` says so.
    """
    value = {"quality": "perplexity", "speed": "runtime_ms"}[what]
    usable = imported[imported[value].notna() & imported[f"{what}_unusable"].isna()]
    is_baseline = usable["method"].eq("recompute")
    baselines = usable[is_baseline].drop_duplicates("origin")
    by_file = pd.Series(baselines.index.to_numpy(dtype=float), index=baselines["origin"])
    return usable.loc[~is_baseline, "origin"].map(by_file).astype(float)


KEYS = ("model_key", "dataset_key", "seed_key", "origin")
"""What `with_keys` adds."""


def with_keys(frame: pd.DataFrame) -> pd.DataFrame:
    """Add the keys that are not columns: what a path, a seed and an origin mean for a pair.

    A frame that has them is returned as it is.
    """
    if "model_key" in frame:
        return frame
    prefixes = _translate(frame["model"], lambda model: model[: len(RANDOM_MODEL_PREFIX)])
    seeded = frame["dataset"].eq("random") | prefixes.eq(RANDOM_MODEL_PREFIX)
    return frame.assign(
        model_key=_translate(frame["model"], model_key),
        dataset_key=_translate(frame["dataset"], dataset_key),
        seed_key=frame["seed"].where(seeded, 0),
        # Imported rows know little of their origin: they pair inside one file only.
        origin=frame["sweep"].where(frame["source"].eq("imported"), ""),
    )


def newest(frame: pd.DataFrame, robbed: "pd.Series[bool]") -> npt.NDArray[np.bool_]:
    """Tell which rows say something that no later one says of the same evaluation.

    The frame is in order of age. Rows that differ only in a seed that changes nothing are of one
    evaluation: of each set of measurements the latest. `robbed`: rows whose speeds were taken away
    because they are of another place; such a row is none where another has what is left, and more.
    """
    evaluation = _evaluations(frame)
    has = np.array([frame[name].notna().to_numpy() for name in _MEASURED], dtype=np.int64)
    measured: Codes = (1 << np.arange(len(_MEASURED))) @ has
    sets = np.arange(1 << len(_MEASURED))
    known = np.zeros((int(evaluation.max(initial=-1)) + 1, len(sets)), dtype=bool)
    known[evaluation, measured] = True
    exceeds = ((sets[:, None] & sets) == sets) & (sets[:, None] != sets)  # [more, less]
    exceeded = known @ exceeds
    repeated = pd.Series(combined([evaluation, measured])).duplicated(keep="last").to_numpy()
    found: npt.NDArray[np.bool_] = ~(
        repeated | (robbed.to_numpy() & exceeded[evaluation, measured])
    )
    return found


def _evaluations(frame: pd.DataFrame) -> Codes:
    """Number what was evaluated, whatever was measured of it.

    A seed changes random models and texts, and which blocks a sampled baseline has. Imported rows
    are what their file says, each for itself.
    """
    own = frame["source"].eq("imported") | frame["recompute_blocks"].notna()
    keyed = with_keys(frame).assign(own=frame["run_id"].where(own, ""))
    return group_numbers(keyed, (*TEXT_KEYS, *TIMING_KEYS, *_METHOD_KEYS, "own"))


def reported_set(frame: pd.DataFrame) -> pd.Series:
    """Return the folder that an imported row came from; empty for a measured row."""
    imported = frame["source"].eq("imported")
    sweeps = frame["sweep"].where(imported, "")  # few names, mostly one
    return _translate(sweeps, lambda name: name.removeprefix("import:").rpartition("/")[0])


def model_key(model: str) -> str:
    """Return the model without its path: a moved folder stays the same model."""
    return "folder" if is_local_model(model) else model


def dataset_key(dataset: str) -> str:
    """Return the text without its path; the revision column holds the content's hash."""
    if not dataset.startswith(FILE_PREFIX):
        return dataset
    _, file_format, column = split_file_dataset(dataset)
    return f"{FILE_PREFIX}{file_format}#{column}"


def _translate(values: pd.Series, key: Callable[[str], str]) -> pd.Series:
    places, names = pd.factorize(values)  # few names for many rows
    if not len(names):
        return values
    translated = pd.Series([key(name) for name in names], dtype=values.dtype).array
    return pd.Series(translated.take(places, allow_fill=True), index=values.index)


def _with_groups(frame: pd.DataFrame) -> pd.DataFrame:
    """Number the groups of rows that agree in their keys: columns `text`, `speed`, …

    Null agrees with null. Each column is hashed once, however many groupings use it.
    """
    text = group_numbers(frame, (*TEXT_KEYS, "budget"))
    place = group_numbers(frame, PLACE_KEYS)
    timing = group_numbers(frame, TIMING_KEYS)
    # Only what pairing needs: a copy of every column of a million rows costs seconds.
    return frame[[*_NEEDED, "origin"]].assign(
        text=text,
        text_and_place=combined([text, place]),
        speed=combined([text, place, timing]),
    )


def _partners(frame: pd.DataFrame, stride: int, value: str, keys: str) -> pd.Series:
    """Return, by index, the position in the frame of each streaming row's partner."""
    usable = frame[frame[value].notna() & frame["budget"].notna()]
    baselines = usable[usable["method"].eq("recompute") & usable["recompute_stride"].eq(stride)]
    rows = usable[usable["method"].eq("streaming")]
    if rows.empty or baselines.empty:
        return pd.Series(dtype=float)
    group = usable[keys]
    order = ["finished_at"]
    if value == "perplexity":  # the full baseline where there is one, else the largest sample
        sampled = baselines["recompute_blocks"].astype(float)
        baselines, order = baselines.assign(tokens=sampled.fillna(np.inf)), ["tokens", *order]
    baselines = baselines.sort_values(order, kind="stable", na_position="first")
    latest = baselines.index
    by_group = pd.Series(latest.to_numpy(dtype=float), index=group.loc[latest])
    by_group = by_group[~by_group.index.duplicated(keep="last")]
    return group.loc[rows.index].map(by_group)


def _take(frame: pd.DataFrame, column: str, partner: pd.Series) -> pd.Series:
    """Return the partner's value of a column; null where there is no partner."""
    found = partner.dropna().astype(int)
    values = frame[column].reindex(pd.Index(found)).set_axis(found.index)
    return values.reindex(frame.index)


def _with_partners(frame: pd.DataFrame, quality: pd.Series, speed: pd.Series) -> pd.DataFrame:
    """Add what the partners of a row say of its perplexity and its speed, or why not of speed."""
    sampled = _take(frame, "recompute_blocks", quality).astype(float)
    perplexity = _take(frame, "perplexity", quality).where(sampled.isna())
    runtime = _take(frame, "runtime_ms", speed)
    alone = frame["method"].eq("streaming") & frame["runtime_ms"].notna() & speed.isna()
    not_full = frame["latency_full_budget"].astype(object).eq(False)
    notes = pd.Series(None, index=frame.index, dtype=object)
    notes[alone] = NO_PARTNER
    notes[alone & not_full] = NOT_FULL
    spoilt = alone & frame["speed_unusable"].notna()
    notes[spoilt] = frame.loc[spoilt, "speed_unusable"].map(lambda why: UNUSABLE.format(reason=why))
    return frame.assign(
        quality_partner=_take(frame, "row_id", quality),
        baseline_perplexity=perplexity,
        perplexity_increase=frame["perplexity"] / perplexity - 1,
        baseline_blocks=sampled,
        speed_partner=_take(frame, "row_id", speed),
        baseline_runtime_ms=runtime,
        speedup=runtime / frame["runtime_ms"],
        speedup_low=_take(frame, "runtime_ms_min", speed) / frame["runtime_ms_max"],
        speedup_high=_take(frame, "runtime_ms_max", speed) / frame["runtime_ms_min"],
        speed_note=notes,
    )
