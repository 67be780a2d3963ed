"""Ticks of a logarithmic axis: few enough to be read, written as plain numbers."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator
from matplotlib.transforms import Bbox

from analysis.rows.intervals import Reals

MULTIPLES = ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 5.0, 7.0))
"""Tick values within a decade, coarse to fine; the coarsest with four ticks in view is used."""
ENOUGH = 4
POINTS = 8.0
"""Font size."""
MARKER = 5.0
"""Half the size of a marker, in points, kept free of labels."""
OFFSETS = tuple(
    (x * reach, y * reach)
    for reach in (1.0, 1.9)
    for x, y in ((7, 4), (-7, 4), (7, -11), (-7, -11), (0, 8), (0, -15))
)
"""Where a label may stand, in points from its point; the first free one is taken."""


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


def place_labels(
    axes: Axes, points: Sequence[tuple[float, float]], labels: Sequence[str]
) -> list[str]:
    """Write a label at each point (data coordinates); return those that found a place."""
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    figure.draw_without_rendering()  # fixes the layout, so that pixels mean something
    pixel = figure.dpi / 72
    centres = [axes.transData.transform(point) for point in points]
    taken = [_around(x, y, MARKER * pixel) for x, y in centres]
    placed = []
    for (x, y), point, label in zip(centres, points, labels, strict=True):
        for offset in OFFSETS if label else ():
            box = _box(x, y, label, offset, pixel)
            inside = axes.bbox.x0 < box.x0 and box.x1 < axes.bbox.x1
            inside = inside and axes.bbox.y0 < box.y0 and box.y1 < axes.bbox.y1
            if inside and not any(box.overlaps(other) for other in taken):
                _write(axes, label, point, offset)
                taken.append(box)
                placed.append(label)
                break
    return placed


def _box(x: float, y: float, label: str, offset: tuple[float, float], pixel: float) -> Bbox:
    width, height = len(label) * POINTS * 0.66 * pixel, POINTS * 1.2 * pixel
    left = x + offset[0] * pixel - (width if offset[0] < 0 else width / 2 if not offset[0] else 0)
    return Bbox.from_bounds(left, y + offset[1] * pixel, width, height)


def _around(x: float, y: float, reach: float) -> Bbox:
    return Bbox.from_extents(x - reach, y - reach, x + reach, y + reach)


def _write(axes: Axes, label: str, point: tuple[float, float], offset: tuple[float, float]) -> None:
    side = "right" if offset[0] < 0 else "center" if not offset[0] else "left"
    text = axes.annotate(label, point, xytext=offset, textcoords="offset points", va="bottom")
    text.set(horizontalalignment=side, fontsize=POINTS, color="#404950", in_layout=False)
