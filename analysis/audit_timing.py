"""The audit's rules about time: cold starts and unsteady repeats."""

from collections.abc import Iterator

import pandas as pd

from analysis.finding import Finding, name
from analysis.rows.pairing import PLACE_KEYS, TIMING_KEYS, with_keys

COLD_FACTOR = 3.0
"""A time this much longer than that of rows with at least as much work is suspect."""
UNSTEADY_FACTOR = 1.5
"""The slowest repeat may exceed the fastest by this factor."""

_PEERS = ("source", "model_key", "dtype", "dataset_key", "max_tokens", *PLACE_KEYS, *TIMING_KEYS)


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
