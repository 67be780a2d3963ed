"""Intervals from blocks: how sure a perplexity is, or a difference of two on the same text.

Two methods share their blocks, so most of what differs between passages cancels in a
difference. What an interval speaks of ("documents like these", "other passages of these
documents") and how it is computed stands in `workers.contract.statistics.mean_interval`; every
interval of the analysis comes from there, also for rows that were measured before it existed.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workers.contract.statistics import exponential, mean_interval

Reals = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval, in the unit of the estimate."""

    value: float
    low: float
    high: float
    method: str = ""
    """`workers.contract.statistics.INTERVAL_METHODS`: the population that it speaks of."""

    @property
    def excludes_zero(self) -> bool:
        """Tell whether the whole interval lies on one side of zero."""
        return self.low > 0 or self.high < 0


def is_difference(interval: Interval | None) -> bool:
    """Tell whether a difference may be called one: its interval is known and excludes zero.

    The one decision behind stars, bold figures and "no difference beyond the interval".
    """
    return interval is not None and interval.excludes_zero


def bounded_perplexity(document: Reals, nll: Reals, tokens: Reals) -> Interval | None:
    """Return the perplexity of blocks with its interval; None where the text is too little."""
    return _exponential(document, nll, tokens, exponential)


def increase(document: Reals, nll: Reals, baseline_nll: Reals, tokens: Reals) -> Interval | None:
    """Return the relative perplexity increase over a baseline on the same blocks.

    All have one entry per block: number of the document, nats, nats, scored tokens. A fraction:
    0.01 is 1 % more. None where the text is too little for an interval.
    """
    return _exponential(document, nll - baseline_nll, tokens, growth)


def growth(nats: float) -> float:
    """Return e to the power of a difference less one; infinity where no float is as large."""
    return math.expm1(nats) if nats < 700 else math.inf


def _exponential(
    document: Reals, sums: Reals, tokens: Reals, unit: Callable[[float], float]
) -> Interval | None:
    if not len(tokens):
        return None
    found = mean_interval(document, sums, tokens)
    if found.bounds is None:
        return None
    low, high = found.bounds
    return Interval(unit(found.value), unit(low), unit(high), found.method)
