"""`analysis audit`: hold the rows of a store against the rules of an honest measurement.

Each rule is a pure function from a paired frame to findings. The rules are the mistakes that
were made before: a configuration that never evicted, a first run that paid the device's cold
start, rows of different machines compared, a baseline that was cheaper than it looked.
"""

from collections.abc import Callable, Iterator

import pandas as pd

from analysis.audit_timing import cold_starts, unsteady
from analysis.finding import SEVERITIES, Finding, name
from analysis.rows.pairing import NOT_FULL, PLACE_KEYS

PARITY_LIMIT = 1e-3
"""Nats; the engine refuses to finish above it, an imported or edited row may still be."""

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
