"""`analysis audit`: hold the rows of a store against the rules of an honest measurement.

Each rule is a pure function from a paired frame to findings. The rules are the mistakes that
were made before: a configuration that never evicted, a first run that paid the device's cold
start, rows of different machines compared, a baseline that was cheaper than it looked.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from analysis.drawing.captions import dataset_name
from analysis.rows.frames import is_missing
from analysis.rows.pairing import NOT_FULL, PLACE_KEYS, TIMING_KEYS, with_keys

PARITY_LIMIT = 1e-3
"""Nats; the engine refuses to finish above it, an imported or edited row may still be."""
COLD_FACTOR = 3.0
"""A time this much longer than that of rows with at least as much work is suspect."""
UNSTEADY_FACTOR = 1.5
"""The slowest repeat may exceed the fastest by this factor."""
_PEERS = ("source", "model_key", "dtype", "dataset_key", "max_tokens", *PLACE_KEYS, *TIMING_KEYS)
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


Rule = Callable[[pd.DataFrame], Iterator[Finding]]


def audit(frame: pd.DataFrame) -> list[Finding]:
    """Return every finding, errors first, each naming the rows it is about."""
    found = [finding for rule in RULES for finding in rule(frame)]
    return sorted(found, key=lambda one: SEVERITIES.index(one.severity))


def never_evicted(frame: pd.DataFrame) -> Iterator[Finding]:
    """A streaming row in which no token was evicted is a dense run under another name."""
    rows = frame[frame["method"].eq("streaming") & frame["evicted_tokens"].eq(0)]
    yield from _about(rows, "never-evicted", "warning", "no token was evicted: it never streamed")


def identical(frame: pd.DataFrame) -> Iterator[Finding]:
    """Different caches cannot give the same perplexity to the last bit unless none was used."""
    rows = frame[frame["perplexity"].notna() & frame["method"].ne("dense")]
    keys = ["source", "model", "dataset", "max_tokens", "n_tokens", "perplexity"]
    for _, part in rows.groupby(keys, dropna=False):
        short = part[part["budget"] + 1 < part["n_tokens"]]
        caches = short[["method", "n_sink", "window_size"]].drop_duplicates()
        if len(caches) > 1:
            message = (
                f"{len(caches)} different caches, all shorter than the text, give the same "
                "perplexity to the last bit: nothing can have been evicted (never-evicted)"
            )
            yield Finding("identical-perplexity", "error", message, name(short))


def beyond_training(frame: pd.DataFrame) -> Iterator[Finding]:
    """A cache longer than the trained positions measures the model's failure, not the method."""
    beyond = frame["beyond_training_length"].astype(object).eq(True)
    rows = frame[beyond & frame["method"].ne("dense")]
    yield from _about(rows, "beyond-training", "warning", "budget beyond the trained positions")


def unpaired(frame: pd.DataFrame) -> Iterator[Finding]:
    """A streaming row without a comparable baseline has no speedup and no increase."""
    ours = frame[frame["method"].eq("streaming")]
    lost = ours[ours["perplexity"].notna() & ours["quality_partner"].isna()]
    message = "no recompute row of the same budget and data: no perplexity increase"
    yield from _about(lost, "unpaired-quality", "note", message)
    slow = ours[ours["runtime_ms"].notna() & ours["speed_partner"].isna()]
    slow = slow[slow["speed_note"].ne(NOT_FULL)]
    message = "no recompute row of the same budget, device and timing settings: no speedup"
    yield from _about(slow, "unpaired-speed", "note", message)


def not_full(frame: pd.DataFrame) -> Iterator[Finding]:
    """A latency at a cache that was not full is too fast."""
    rows = frame[frame["latency_full_budget"].astype(object).eq(False)]
    yield from _about(rows, "cache-not-full", "warning", "timed while the cache was not full")


def device_shared(frame: pd.DataFrame) -> Iterator[Finding]:
    """Another process on the device makes a time mean nothing."""
    rows = frame[frame["device_shared"].astype(object).eq(True) & frame["runtime_ms"].notna()]
    message = "another process used the device during the timing"
    yield from _about(rows, "device-shared", "error", message)


def mixed_places(frame: pd.DataFrame) -> Iterator[Finding]:
    """Speeds of one sweep from several machines or versions are never compared; say so."""
    timed = frame[frame["runtime_ms"].notna()]
    for (sweep, model), part in timed.groupby(["sweep", "model"], dropna=False):
        places = part[list(PLACE_KEYS)].drop_duplicates()
        if len(places) > 1:
            names = ", ".join(sorted(map(str, places["device_name"].unique())))
            message = (
                f"sweep {sweep}, {model}: timed in {len(places)} settings of device, threads, "
                f"torch and CUDA ({names}); speeds are compared within each only"
            )
            yield Finding("mixed-devices", "note", message, name(part))


def parity(frame: pd.DataFrame) -> Iterator[Finding]:
    """Every worker checks its parallel pass against the real rolling cache."""
    rows = frame[frame["source"].eq("measured") & frame["perplexity"].notna()]
    message = f"self-check differs by more than {PARITY_LIMIT} nats"
    wrong = rows[rows["parity_max_abs_diff"] > PARITY_LIMIT]
    yield from _about(wrong, "parity", "error", message)
    unchecked = rows[rows["parity_max_abs_diff"].isna()]
    yield from _about(unchecked, "no-parity", "warning", "no self-check was recorded")


def provenance(frame: pd.DataFrame) -> Iterator[Finding]:
    """What is imported, strided, or from code that no commit holds must be known as such."""
    imported = frame[frame["source"].eq("imported")]
    message = "imported: nothing about the measurement was checked here"
    yield from _about(imported, "imported", "note", message)
    strided = frame[frame["recompute_stride"] > 1]
    message = "recompute with a stride: shorter contexts than the paper's baseline"
    yield from _about(strided, "strided-baseline", "note", message)
    dirty = frame[frame["git_dirty"].astype(object).eq(True)]
    yield from _about(dirty, "git-dirty", "note", "the code had uncommitted changes")


def _about(rows: pd.DataFrame, rule: str, severity: str, message: str) -> Iterator[Finding]:
    if not rows.empty:
        yield Finding(rule, severity, message, name(rows))


def cold_starts(frame: pd.DataFrame) -> Iterator[Finding]:
    """The first run in a process pays for the device's start unless it is warmed up.

    A row is suspect if its runtime or prefill is at least three times the median of the rows
    that had at least as much to do: same model, text, method and machine, an equal or larger
    cache; rows that never evicted are no measure of the others. Rows whose caches are shorter
    than the text and that agree to the last bit did the same work, whatever they say.
    """
    keyed = with_keys(frame)
    keyed = keyed.assign(work=keyed["budget"].fillna(keyed["n_tokens"]))
    for column in ("runtime_ms", "prefill_ms"):
        timed = keyed[keyed[column].notna()]
        streamed = timed[timed["evicted_tokens"].ne(0) | timed["method"].eq("dense")]
        shorter = timed[timed["budget"] + 1 < timed["n_tokens"]]
        suspects = {
            **_slow(streamed, [*_PEERS, "method"], column, by_work=True),
            **_slow(shorter[shorter["perplexity"].notna()], [*_PEERS, "perplexity"], column),
        }
        if suspects:
            yield _finding(frame, suspects, column)


def unsteady(frame: pd.DataFrame) -> Iterator[Finding]:
    """Repeats that disagree say that something else ran, or that the machine throttled."""
    rows = frame[frame["runtime_ms_max"] > UNSTEADY_FACTOR * frame["runtime_ms_min"]]
    if not rows.empty:
        message = f"slowest repeat more than {UNSTEADY_FACTOR} times the fastest"
        yield Finding("unsteady-timing", "warning", message, name(rows))


RULES: tuple[Rule, ...] = (
    never_evicted,
    identical,
    beyond_training,
    unpaired,
    not_full,
    device_shared,
    mixed_places,
    cold_starts,
    unsteady,
    parity,
    provenance,
)


def _slow(
    timed: pd.DataFrame, keys: list[str], column: str, *, by_work: bool = False
) -> dict[int, float]:
    """Return index and factor of the rows that took far longer than their peers."""
    found: dict[int, float] = {}
    for _, part in timed.groupby(keys, dropna=False, sort=False):
        slow = part[part[column] >= COLD_FACTOR * part[column].min()]
        for index, row in slow.iterrows():
            peers = part.drop(index)
            peers = peers[peers["work"] >= row["work"]] if by_work else peers
            if len(peers) > by_work and row[column] >= COLD_FACTOR * peers[column].median():
                found[int(str(index))] = float(row[column] / peers[column].median())
    return found


def _finding(frame: pd.DataFrame, suspects: dict[int, float], column: str) -> Finding:
    rows = frame.loc[list(suspects)]
    first = int(rows["worker_sequence"].eq(0).sum())
    worst = max(suspects.values())
    started = f"; {first} of them the first of their worker" if first else ""
    what = column.removesuffix("_ms")
    message = (
        f"cold start suspected: {what} up to {worst:.1f} times that of rows with at least as "
        f"much work{started}"
    )
    return Finding("cold-start", "error", message, name(rows))


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
