"""Intervals from blocks: how sure a perplexity, or a difference of two, is on these documents.

Blocks are runs of scored tokens that depend on the data alone, so two methods share them and
most of their spread (hard and easy passages) cancels in a difference. The interval is the 95 %
percentile interval over 1,000 seeded resamples of whole blocks; it is conditional on the
documents that were read and says nothing about other texts.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workers.contract.statistics import CONFIDENCE, resampled

SEED = 0

Reals = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval, in the unit of the estimate."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Tell whether the whole interval lies on one side of zero."""
        return self.low > 0 or self.high < 0


def resampled_sums(values: Reals, *, seed: int = SEED) -> Reals:
    """Return sums over resampled rows: (n blocks, k) to (resamples, k).

    The same seed draws the same blocks, whatever the columns hold: this is what pairs them.
    """
    return np.stack([values[chosen].sum(axis=0) for chosen in resampled(len(values), seed)])


def increase(nll: Reals, baseline_nll: Reals, tokens: Reals) -> Interval | None:
    """Return the relative perplexity increase over a baseline on the same blocks.

    All three have one entry per block: nats, nats, scored tokens. A fraction: 0.01 is 1 % more.
    None for fewer than two blocks, which have no spread.
    """
    if len(tokens) < 2:
        return None
    columns = np.stack([nll - baseline_nll, tokens], axis=1).astype(np.float64)
    value = _increase(columns.sum(axis=0)[None])[0]
    low, high = percentiles(_increase(resampled_sums(columns)))
    return Interval(float(value), low, high)


def percentiles(samples: Reals) -> tuple[float, float]:
    """Return the bounds of the central 95 % of the samples."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(samples, [tail, 1 - tail])
    return float(low), float(high)


def _increase(sums: Reals) -> Reals:
    return np.expm1(sums[:, 0] / sums[:, 1])
