"""Sentences that several captions share; each is generated from the rows that were drawn."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from analysis.drawing import numbers
from analysis.drawing.style import Look
from analysis.rows import published
from analysis.rows.comparable import Selection
from analysis.rows.frames import is_missing
from analysis.rows.intervals import Interval, is_difference
from analysis.rows.pairing import NOT_FULL, TEXT_CHOICES
from orchestrator.reports.tables import visible
from workers.contract.file_datasets import FILE_PREFIX, split_file_dataset
from workers.contract.spec import DEFAULTS, is_local_model
from workers.contract.statistics import INTERVAL_METHODS, TOO_LITTLE


def setting(selection: Selection, look: Look) -> list[str]:
    """Say which model, number format and device the figure shows."""
    shared = selection.setting
    parts = [
        look.text(
            "setting",
            model=model_name(str(shared["model"])),
            dtype=number_format(selection, look),
            device=device_name(selection, look),
        )
    ]
    for name in TEXT_CHOICES:
        chosen = selection.rows.get(name)
        if chosen is not None and not chosen.isin([DEFAULTS[name]]).all():
            parts.append(look.text(f"{name}_note", value=", ".join(map(str, chosen.unique()))))
    if shared["source"] == "imported":
        parts.append(look.text("imported_note"))
    elif shared["device_name"] and not shared["cuda_version"] and shared["num_threads"]:
        parts.append(look.text("cpu_note", threads=int(shared["num_threads"])))
    return parts


def number_format(selection: Selection, look: Look) -> str:
    """Return the number format; of a report, whether it states one."""
    dtype, stated = selection.setting["dtype"], selection.rows["dtype"].notna()
    if dtype is None:
        return look.text("not_stated" if selection.is_reported else "unknown")
    return str(dtype) if stated.all() else look.text("dtype_partly", dtype=dtype)


def baseline_name(selection: Selection, baseline: pd.DataFrame, look: Look) -> str:
    """Return what the baseline of these rows is called: its stride and window where unusual."""
    if not selection.is_reported:
        stride = selection.baseline_stride
        return look.name("recompute" if stride == 1 else "recompute_strided", stride=stride)
    kinds = baseline[["window_size", "recompute_stride"]].dropna().drop_duplicates()
    if len(kinds) != 1:
        return look.name("recompute_reported_plain")
    window, stride = (int(value) for value in kinds.iloc[0])
    return look.name("recompute_reported", window=window, stride=stride)


def device_name(selection: Selection, look: Look) -> str:
    """Return the device's name, or say that there are several or that none was recorded."""
    if selection.setting["device_name"]:
        return str(selection.setting["device_name"])
    several = selection.rows["device_name"].nunique() > 1
    return look.text("several_devices" if several else "unknown_device")


def left_out(selection: Selection, look: Look) -> list[str]:
    """Say how many results the figure does not show, and why; facets say it together."""
    return [] if look.facets > 1 else left_out_of([selection], look)


def left_out_of(selections: Iterable[Selection], look: Look) -> list[str]:
    """Say how many results figures of these groups do not show, and why."""
    sums: Counter[str] = Counter()
    for selection in selections:
        sums.update(dict(selection.left_out))
    return [look.text(reason, count=count) for reason, count in sums.items()]


def runtime(selection: Selection, look: Look) -> list[str]:
    """Say what the runtime is a time of."""
    shared = selection.setting
    if is_missing(shared["decode_tokens"]) or is_missing(shared["repeats"]):
        return [look.text("runtime_imported")]
    repeats, tokens = int(shared["repeats"]), int(shared["decode_tokens"])
    return [look.text("runtime_note", repeats=repeats, tokens=tokens)]


def runtime_title(selection: Selection, look: Look, letter: str) -> str:
    """Title a panel of runtimes: of how many tokens, where that is known."""
    tokens = selection.setting["decode_tokens"]
    key = "panel_runtime_plain" if is_missing(tokens) else "panel_runtime"
    return f"{letter} " + look.text(key, tokens=None if is_missing(tokens) else int(tokens))


def hollow(rows: pd.DataFrame, measure: str) -> "pd.Series[bool]":
    """Tell which points are drawn hollow where `quality` or `speed` is shown.

    Never streamed, beyond the trained positions, or unusable by the rules of the audit.
    """
    marked = rows["hollow"].astype(object).eq(True)
    reasons = rows.get(f"{measure}_unusable")
    return marked if reasons is None else marked | reasons.notna()


def citation(look: Look) -> str:
    """Say where the published numbers come from."""
    return look.text("published_note", source=published.data()["source"])


def intervals(rows: pd.DataFrame, look: Look, *, shown_as: str = "whiskers") -> list[str]:
    """Say which population the intervals of these perplexities speak of, and where there is none.

    Texts are named where not all speak of the same. `shown_as`: `whiskers` or `brackets`.
    """
    known = rows[rows["perplexity"].notna() & rows["interval_method"].notna()]
    texts = known["dataset"].map(dataset_name)
    kinds = {kind: _names(texts[known["interval_method"].eq(kind)]) for kind in INTERVAL_METHODS}
    too_little = kinds.pop(TOO_LITTLE)
    used = {kind: names for kind, names in kinds.items() if names}
    populations = [look.text(kind) for kind in used]
    if len(used) > 1:
        pairs = zip(populations, used.values(), strict=True)
        populations = [look.text("on_texts", population=one, names=names) for one, names in pairs]
    parts = [look.text(shown_as, population="; ".join(populations))] if used else []
    return parts + ([look.text("too_little", names=too_little)] if too_little else [])


def undecided(found: Iterable[tuple[str, Interval | None]], look: Look) -> list[str]:
    """Name the points whose difference is within its interval: that is no difference."""
    names = [name for name, interval in found if interval and not is_difference(interval)]
    return [look.text("no_difference", names=", ".join(dict.fromkeys(names)))] if names else []


def sampled_baseline(rows: pd.DataFrame, key: str, look: Look) -> list[str]:
    """Say where the baseline was scored on a sample of blocks; `key`: how that is shown."""
    counts = rows.loc[rows["baseline_blocks"].notna(), ["dataset", "baseline_blocks"]]
    if counts.empty:
        return []
    names = _names(counts["dataset"].map(dataset_name))
    blocks = ", ".join(f"{int(n):,}" for n in sorted(counts["baseline_blocks"].unique()))
    return [look.text(key, names=names, blocks=blocks)]


def held(setting: str, value: int, look: Look) -> str:
    """Write a setting with its value: `1 sink`, `window 1,024`."""
    is_one = setting == "n_sink" and value == 1
    return look.text("fixed_one_sink" if is_one else f"fixed_{setting}", value=f"{value:,}")


def flags(
    rows: pd.DataFrame, points: pd.Series, look: Look, *, in_table: bool = False
) -> list[str]:
    """Say which of the drawn rows are hollow or unusable, and why; `points` names each row.

    A table has a star for what is hollow, and a dagger at each number that is unusable.
    """
    sign = "*" if in_table else look.text("hollow_sign")
    streaming = rows["method"].eq("streaming")
    never = streaming & rows["evicted_tokens"].eq(0)
    beyond = streaming & rows["beyond_training_length"].astype(object).eq(True)
    parts = []
    if never.any():
        parts.append(look.text("never_evicted", sign=sign, points=_names(points[never])))
    if beyond.any():
        trained = int(rows.loc[beyond, "trained_positions"].max())
        names = _names(points[beyond])
        parts.append(look.text("beyond", sign=sign, points=names, trained=f"{trained:,}"))
    broken: dict[str, list[str]] = {}
    for column in () if in_table else ("quality_unusable", "speed_unusable"):
        reasons = rows[column] if column in rows else pd.Series(None, rows.index, dtype=object)
        for rules, point in zip(reasons, points, strict=True):
            for rule in [] if is_missing(rules) else str(rules).split(", "):
                broken.setdefault(rule, []).append(str(point))
    parts += [
        look.text("unusable", points=_names(pd.Series(every)), rule=rule)
        for rule, every in broken.items()
    ]
    not_full = int(rows["speed_note"].eq(NOT_FULL).sum())
    return parts + ([look.text("not_full", count=not_full)] if not_full else [])


def dataset_name(dataset: str) -> str:
    """Return a text's name without its folder."""
    if not dataset.startswith(FILE_PREFIX):
        return visible(dataset)
    parts = split_file_dataset(dataset)[0].rstrip("/").rsplit("/", 2)
    # A pattern says little without the folder that it is in.
    return visible("/".join(parts[-2:] if "*" in parts[-1] else parts[-1:]))


def model_name(model: str) -> str:
    """Return a model's name without its folder."""
    return visible(model.rstrip("/").rpartition("/")[2] if is_local_model(model) else model)


def cache_words(row: Mapping[Any, Any]) -> str:
    """Write the cache of a row for a table: sinks + window where it has both, else the budget."""
    if row["method"] in ("streaming", "kvpress") and not is_missing(row["window_size"]):
        return f"{int(row['n_sink'])} + {int(row['window_size']):,}"
    return numbers.whole(row["budget"])


def cache_label(row: Mapping[Any, Any]) -> str:
    """Write the cache of a row as short as can be: `4+124`, the budget, or nothing."""
    if row["method"] == "streaming" and not is_missing(row["window_size"]):
        return f"{int(row['n_sink'])}+{int(row['window_size'])}"
    return "" if is_missing(row["budget"]) else str(int(row["budget"]))


def _names(points: pd.Series) -> str:
    return ", ".join(dict.fromkeys(map(str, points)))
