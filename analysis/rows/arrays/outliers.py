"""Which values are far above those of comparable rows, without looking at every row by itself."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.rows.arrays.grouping import Codes

Values = npt.NDArray[np.float64]


def far_above(
    values: Values, groups: Codes, work: Values, *, factor: float, fewest: int
) -> dict[int, float]:
    """Return the places of values at least `factor` times the median of their peers', and how far.

    Peers are the other rows of the same group with at least as much work; there must be `fewest`
    of them. All three arrays have one entry per row, none of them NaN. Groups come in the order
    of their first row, rows of one group in theirs.
    """
    if not len(values):
        return {}
    groups = pd.factorize(groups)[0]
    order = np.lexsort((-work, groups))
    values, groups, work = values[order], groups[order], work[order]
    starts_group = np.diff(groups, prepend=-1) != 0
    starts_run = starts_group | (np.diff(work, prepend=np.nan) != 0)
    # A run: rows of a group with equal work. A row and its peers are the group up to its run's end.
    run = np.cumsum(starts_run) - 1
    ends = np.append(np.flatnonzero(starts_run)[1:], len(values))
    begins = np.flatnonzero(starts_group)[groups]
    # No median is below the least value: few rows remain, unless something is wrong with many.
    least = pd.Series(values).groupby(groups).cummin().to_numpy()[ends - 1][run]
    doubtful = np.flatnonzero(values >= factor * least)
    found: dict[int, float] = {}
    for rows in np.split(doubtful, np.flatnonzero(np.diff(run[doubtful])) + 1):
        if not len(rows):
            continue
        everyone = np.sort(values[begins[rows[0]] : ends[run[rows[0]]]])
        if len(everyone) > fewest:
            medians = _medians_of_others(everyone, values[rows])
            is_far = values[rows] >= factor * medians
            ratios = values[rows[is_far]] / medians[is_far]
            found.update(zip(order[rows[is_far]].tolist(), ratios.tolist(), strict=True))
    by_group = dict(zip(order[doubtful].tolist(), groups[doubtful].tolist(), strict=True))
    return {place: found[place] for place in sorted(found, key=lambda one: (by_group[one], one))}


def _medians_of_others(everyone: Values, own: Values) -> Values:
    """Return, for each of `own`, the median of sorted values without one that equals it."""
    rank, others = np.searchsorted(everyone, own), len(everyone) - 1
    low, high = (others - 1) // 2, others // 2
    sums: Values = everyone[low + (low >= rank)] + everyone[high + (high >= rank)]
    return sums / 2
