"""Ticks of a logarithmic axis: few enough to be read, written as plain numbers."""

import numpy as np
from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from analysis.rows.intervals import Reals

MULTIPLES = ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 5.0, 7.0))
"""Tick values within a decade, coarse to fine; the coarsest with four ticks in view is used."""
ENOUGH = 4


def log_ticks(axis: Axis) -> None:
    """Give an axis that is already in log scale its ticks, for the limits that it has now."""
    low, high = sorted(axis.get_view_interval())
    decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    for multiples in MULTIPLES:
        ticks = np.sort(np.outer(decades, multiples).ravel())
        ticks = ticks[(ticks >= low) & (ticks <= high)]
        if len(ticks) >= ENOUGH:
            break
    else:  # less than half a decade: evenly spaced values say more
        ticks = _even(low, high)
    axis.set_major_locator(FixedLocator(ticks.tolist()))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def _even(low: float, high: float) -> Reals:
    step = 10 ** np.floor(np.log10((high - low) / 3))
    step *= max(multiple for multiple in (1, 2, 5) if (high - low) / (step * multiple) >= 3)
    ticks: Reals = np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step
    return ticks
