"""The rules of an honest measurement: which rows of a frame break which, and what that spoils.

Each rule is a pure function from a frame to breaches. The rules are the mistakes that were made
before: a configuration that never evicted, a first run that paid the device's cold start, rows
of different machines compared, a baseline that was cheaper than it looked. A breach that spoils
a number is marked on the row (`mark_unusable`), before anything is paired: a spoiled number has no
partner and is nobody's partner, and no figure, table or headline takes it for a result.
`analysis.outputs.audit` words the breaches for people.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from analysis.rows.arrays.grouping import Codes, codes, combined, group_numbers
from analysis.rows.arrays.outliers import far_above
from analysis.rows.pairing import NOT_FULL, PLACE_KEYS, TIMING_KEYS, with_keys

PARITY_LIMIT = 1e-3
"""Nats; the engine refuses to finish above it, an imported or edited row may still be."""
COLD_FACTOR = 3.0
"""A time this much longer than that of rows with at least as much work is suspect."""
UNKNOWN_LIMIT = 0.01
"""Share of unknown tokens above which a perplexity is to be read with care."""
UNSTEADY_FACTOR = 1.5
"""The slowest repeat may exceed the fastest by this factor."""
FAR_APART = pd.Timedelta(hours=1)
"""Between the two measurements of a speedup, at most."""
_PEERS = ("source", "model_key", "dtype", "dataset_key", "max_tokens", *PLACE_KEYS, *TIMING_KEYS)
SEVERITIES = ("error", "warning", "note")
Spoilt = Literal["quality", "speed"]
EVERYTHING: tuple[Spoilt, ...] = ("quality", "speed")
"""The perplexity and what follows from it; the runtime, the latencies and what follows."""
MEASURE: Mapping[Spoilt, str] = {"quality": "perplexity", "speed": "runtime_ms"}
"""A row without this number has nothing to spoil."""


@dataclass(frozen=True, kw_only=True)
class Breach:
    """A broken rule and the rows of the frame that break it."""

    rule: str
    severity: str
    """`error`: the numbers cannot be used; `warning`: read with care; `note`: know it."""
    message: str
    rows: pd.Index
    """Labels of the rows of the frame; a breach may be about nearly all of them."""
    spoils: tuple[Spoilt, ...] = ()
    """Which numbers of these rows are not results."""


Rule = Callable[[pd.DataFrame], Iterator[Breach]]


def breaches(frame: pd.DataFrame) -> Iterator[Breach]:
    """Yield everything that is wrong with a paired frame, rule by rule."""
    for rule in RULES:
        yield from rule(frame)


def mark_unusable(frame: pd.DataFrame) -> pd.DataFrame:
    """Add `quality_unusable` and `speed_unusable`: the broken rules that spoil a number, or null.

    Several rules are joined by a comma. The frame need not be paired yet.
    """
    reasons = {spoilt: pd.Series(None, index=frame.index, dtype=object) for spoilt in EVERYTHING}
    for breach in (breach for rule in SPOILING for breach in rule(frame)):
        for spoilt in breach.spoils:
            column = reasons[spoilt]
            rows = breach.rows[frame.loc[breach.rows, MEASURE[spoilt]].notna()]
            known = column.loc[rows]
            column.loc[rows] = (known + ", ").where(known.notna(), "") + breach.rule
    return frame.assign(**{f"{spoilt}_unusable": column for spoilt, column in reasons.items()})


def broken_rules(frame: pd.DataFrame) -> list[str]:
    """Return the rules that spoil a number of a marked frame, each once."""
    texts = pd.concat([frame[f"{spoilt}_unusable"] for spoilt in EVERYTHING]).dropna()
    return sorted({rule for text in texts for rule in str(text).split(", ")})


def never_evicted(frame: pd.DataFrame) -> Iterator[Breach]:
    """A streaming row in which no token was evicted is a dense run under another name."""
    rows = frame["method"].eq("streaming") & frame["evicted_tokens"].eq(0)
    yield from _about(rows, "never-evicted", "warning", "no token was evicted: it never streamed")


def identical(frame: pd.DataFrame) -> Iterator[Breach]:
    """Different caches cannot give the same perplexity to the last bit unless none was used."""
    shorter = frame["budget"] + 1 < frame["n_tokens"]
    # Infinite ones are equal because no float is larger, whatever was evicted.
    finite = frame["perplexity"].notna() & frame["perplexity"].ne(float("inf"))
    keys = ["source", "model", "dataset", "max_tokens", "n_tokens", "perplexity"]
    of_interest = finite & frame["method"].ne("dense") & shorter
    rows = frame.loc[of_interest, [*keys, "method", "n_sink", "window_size"]]
    caches = rows.drop_duplicates()
    counts = caches.groupby(keys, dropna=False)["method"].transform("size")
    for _, part in caches[counts > 1].groupby(keys, dropna=False):
        same = rows[keys].merge(part[keys].drop_duplicates(), on=keys, how="left", indicator=True)
        message = (
            f"{len(part)} different caches, all shorter than the text, give the same "
            "perplexity to the last bit: nothing can have been evicted (never-evicted)"
        )
        # What is not what its label says has no speed under that label either.
        yield Breach(
            rule="identical-perplexity",
            severity="error",
            message=message,
            rows=rows.index[same["_merge"].eq("both").to_numpy()],
            spoils=EVERYTHING,
        )


def beyond_training(frame: pd.DataFrame) -> Iterator[Breach]:
    """A cache longer than the trained positions measures the model's failure, not the method."""
    beyond = frame["beyond_training_length"].astype(object).eq(True)
    rows = beyond & frame["method"].ne("dense")
    yield from _about(rows, "beyond-training", "warning", "budget beyond the trained positions")


def unpaired(frame: pd.DataFrame) -> Iterator[Breach]:
    """A streaming row without a comparable baseline has no speedup and no increase."""
    ours = frame["method"].eq("streaming")
    lost = ours & frame["perplexity"].notna() & frame["quality_partner"].isna()
    message = "no recompute row of the same budget and data: no perplexity increase"
    yield from _about(lost, "unpaired-quality", "note", message)
    alone = ours & frame["runtime_ms"].notna() & frame["speed_partner"].isna()
    slow = alone & frame["speed_note"].ne(NOT_FULL)
    message = "no recompute row of the same budget, device and timing settings: no speedup"
    yield from _about(slow, "unpaired-speed", "note", message)


def not_full(frame: pd.DataFrame) -> Iterator[Breach]:
    """A latency at a cache that was not full is too fast."""
    rows = frame["latency_full_budget"].astype(object).eq(False)
    yield from _about(rows, "cache-not-full", "warning", "timed while the cache was not full")


def device_shared(frame: pd.DataFrame) -> Iterator[Breach]:
    """Another process on the device makes a time mean nothing."""
    rows = frame["device_shared"].astype(object).eq(True) & frame["runtime_ms"].notna()
    message = "another process used the device during the timing"
    yield from _about(rows, "device-shared", "error", message, spoils=("speed",))


def wrong_device(frame: pd.DataFrame) -> Iterator[Breach]:
    """A CPU that stood in for a GPU: what was asked for is in the row, or in its sweep's others.

    Rows from before `gpus_requested` was recorded are found where others of the sweep had a GPU.
    """
    on_cpu = frame["device_uuid"].isna() & frame["node_id"].notna()
    asked = frame["gpus_requested"].fillna(0).gt(0)
    with_gpu = frame.loc[frame["device_uuid"].notna(), "sweep"].dropna().unique()
    old = frame["gpus_requested"].isna() & frame["sweep"].isin(with_gpu)
    message = "computed on a CPU though the sweep was given GPUs: a node cannot use its GPU"
    yield from _about(on_cpu & (asked | old), "wrong-device", "error", message, ("speed",))


def disturbed(frame: pd.DataFrame) -> Iterator[Breach]:
    """A time that others had a part in is not the method's (`workers/latency/disturbance.py`)."""
    rows = frame["timing_disturbed"].notna() & frame["runtime_ms"].notna()
    if rows.any():
        by_noise = frame.loc[rows, ["timing_disturbed", "timing_noise"]].sort_values(
            "timing_noise", ascending=False, na_position="last"
        )
        worst = by_noise["timing_disturbed"].iloc[0]
        message = (
            f"disturbed while the steps were timed (worst: {worst}); measure these rows again "
            "with: sweep launch --remeasure-disturbed"
        )
        yield from _about(rows, "disturbed-timing", "error", message, spoils=("speed",))


def far_apart(frame: pd.DataFrame) -> Iterator[Breach]:
    """A machine that has changed between the two times of a speedup is part of it."""
    partners = frame["speed_partner"].dropna()
    if partners.empty:
        return
    ended = pd.Series(frame["finished_at"].array, index=frame["row_id"])
    partner = partners.map(ended[~ended.index.duplicated()])
    far = (frame["finished_at"].loc[partner.index] - partner).abs() > FAR_APART
    message = "measured more than an hour apart from the baseline of their speedup"
    yield from _about(far, "pair-far-apart", "note", message)


def mixed_places(frame: pd.DataFrame) -> Iterator[Breach]:
    """Speeds of one sweep from several machines or versions are never compared; say so."""
    timed = frame.loc[frame["runtime_ms"].notna(), ["sweep", "model", *PLACE_KEYS]]
    for (sweep, model), part in timed.groupby(["sweep", "model"], dropna=False):
        places = part[list(PLACE_KEYS)].drop_duplicates()
        if len(places) > 1:
            names = ", ".join(sorted(map(str, places["device_name"].unique())))
            message = (
                f"sweep {sweep}, {model}: timed in {len(places)} settings of device, threads, "
                f"torch and CUDA ({names}); speeds are compared within each only"
            )
            yield Breach(rule="mixed-devices", severity="note", message=message, rows=part.index)


def parity_exceeded(frame: pd.DataFrame) -> Iterator[Breach]:
    """Every worker checks its parallel pass against the real rolling cache."""
    measured = frame["source"].eq("measured") & frame["perplexity"].notna()
    message = f"self-check differs by more than {PARITY_LIMIT} nats"
    wrong = measured & (frame["parity_max_abs_diff"] > PARITY_LIMIT)
    yield from _about(wrong, "parity", "error", message, spoils=EVERYTHING)
    unchecked = measured & frame["parity_max_abs_diff"].isna()
    yield from _about(unchecked, "no-parity", "warning", "no self-check was recorded")


def provenance(frame: pd.DataFrame) -> Iterator[Breach]:
    """What is imported, strided, or from code that no commit holds must be known as such."""
    imported = frame["source"].eq("imported")
    message = "imported: nothing about the measurement was checked here"
    yield from _about(imported, "imported", "note", message)
    strided = frame["recompute_stride"] > 1
    message = "recompute with a stride: shorter contexts than the paper's baseline"
    yield from _about(strided, "strided-baseline", "note", message)
    dirty = frame["git_dirty"].astype(object).eq(True)
    yield from _about(dirty, "git-dirty", "note", "the code had uncommitted changes")


def texts(frame: pd.DataFrame) -> Iterator[Breach]:
    """Control tokens that a text spells, and characters that the tokenizer does not know."""
    spelled = frame["special_tokens_in_text"] > 0
    message = (
        "the text spells special tokens such as </s>, which were parsed as such; "
        "`special_tokens: text` reads them as their characters"
    )
    yield from _about(spelled, "special-tokens", "note", message)
    unknown = frame["unknown_token_share"] > UNKNOWN_LIMIT
    message = f"more than {UNKNOWN_LIMIT:.0%} of the tokens are unknown to the tokenizer"
    yield from _about(unknown, "unknown-tokens", "warning", message)


def cold_starts(frame: pd.DataFrame) -> Iterator[Breach]:
    """The first run in a process pays for the device's start unless it is warmed up.

    A row is suspect if its runtime or prefill is at least three times the median of the rows
    that had at least as much to do: same model, text, method and machine, an equal or larger
    cache; rows that never evicted are no measure of the others. Rows whose caches are shorter
    than the text and that agree to the last bit did the same work, whatever they say.
    """
    keyed = with_keys(frame)
    alike = group_numbers(keyed, _PEERS)
    same_method = combined([alike, codes(keyed["method"])])
    same_perplexity = combined([alike, codes(keyed["perplexity"])])
    work = keyed["budget"].fillna(keyed["n_tokens"]).astype(float)
    streamed = (keyed["evicted_tokens"].ne(0) | keyed["method"].eq("dense")) & work.notna()
    shorter = (keyed["budget"] + 1 < keyed["n_tokens"]) & keyed["perplexity"].notna()
    for column in ("runtime_ms", "prefill_ms"):
        timed = keyed[column].notna()
        suspects = {
            **_slow(keyed[column], timed & streamed, same_method, work),
            **_slow(keyed[column], timed & shorter, same_perplexity),
        }
        if not suspects:
            continue
        rows = pd.Index(list(suspects))
        first = frame.loc[rows, "worker_sequence"].eq(0).sum()
        started = f"; {first} of them the first of their worker" if first else ""
        message = (
            f"cold start suspected: {column.removesuffix('_ms')} up to "
            f"{max(suspects.values()):.1f} times that of rows with at least as much work{started}"
        )
        # A slow prefill says nothing about the steps that were timed after it.
        spoils: tuple[Spoilt, ...] = ("speed",) if column == "runtime_ms" else ()
        yield Breach(rule="cold-start", severity="error", message=message, rows=rows, spoils=spoils)


def unsteady(frame: pd.DataFrame) -> Iterator[Breach]:
    """Repeats that disagree say that something else ran, or that the machine throttled."""
    rows = frame["runtime_ms_max"] > UNSTEADY_FACTOR * frame["runtime_ms_min"]
    message = f"slowest repeat more than {UNSTEADY_FACTOR} times the fastest"
    yield from _about(rows, "unsteady-timing", "warning", message)


RULES: tuple[Rule, ...] = (
    never_evicted,
    identical,
    beyond_training,
    unpaired,
    not_full,
    device_shared,
    wrong_device,
    disturbed,
    far_apart,
    mixed_places,
    cold_starts,
    unsteady,
    parity_exceeded,
    provenance,
    texts,
)
SPOILING: tuple[Rule, ...] = (
    *(identical, device_shared, wrong_device, disturbed),
    *(cold_starts, parity_exceeded),
)
"""The rules whose breaches spoil a number; they need no pairs."""


def _about(
    broken: pd.Series, rule: str, severity: str, message: str, spoils: tuple[Spoilt, ...] = ()
) -> Iterator[Breach]:
    if len(rows := broken.index[broken]):
        yield Breach(rule=rule, severity=severity, message=message, rows=rows, spoils=spoils)


def _slow(
    times: pd.Series, chosen: pd.Series, groups: Codes, work: pd.Series | None = None
) -> dict[Hashable, float]:
    """Return index and factor of the chosen rows that took far longer than their peers."""
    places = np.flatnonzero(chosen.to_numpy(bool))
    amount = np.zeros(len(places)) if work is None else work.to_numpy(float)[places]
    values, fewest = times.to_numpy(float)[places], 1 if work is None else 2
    found = far_above(values, groups[places], amount, factor=COLD_FACTOR, fewest=fewest)
    return {times.index[places[place]]: ratio for place, ratio in found.items()}
