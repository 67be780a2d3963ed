"""Ticks few enough to be read, and labels that stand on nothing else."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    MaxNLocator,
    NullFormatter,
    NullLocator,
)

from analysis.drawing.numbers import plain, written
from analysis.drawing.page import fonts
from analysis.drawing.style import Look

MULTIPLES = ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 5.0, 7.0))
"""Tick values within a decade, coarse to fine; the coarsest with four ticks in view is used."""
ENOUGH = 4
LINE = 1.25
"""Height of a line of text, in font sizes."""


def linear_ticks(axis: Axis, most: int = 5) -> None:
    """Give an axis a few round ticks for the limits that it has now."""
    low, high = sorted(axis.get_view_interval())
    ticks = MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    shown = [float(tick) for tick in ticks if low <= tick <= high]
    _fix(axis, shown)
    texts = [plain(tick) for tick in shown]
    if not any("e" in text for text in texts):  # 36.8, 37.0 and not 36.8, 37
        form = f",.{max((len(text.partition('.')[2]) for text in texts), default=0)}f"
        axis.set_major_formatter(FuncFormatter(lambda tick, _: written(tick, form)))


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
        step = 10 ** np.floor(np.log10((high - low) / 3))
        step *= max(multiple for multiple in (1, 2, 5) if (high - low) / (step * multiple) >= 3)
        ticks = np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step
    _fix(axis, ticks[:: -(-len(ticks) // 6)].tolist())


def _fix(axis: Axis, ticks: list[float]) -> None:
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def fewer_ticks(axis: Axis, inches: float, look: Look) -> None:
    """Leave out ticks of a vertical axis for which a low panel has no room."""
    low, high = sorted(axis.get_view_interval())
    ticks = [float(tick) for tick in axis.get_ticklocs() if low <= tick <= high]
    most = max(2, int(inches * 72 / (1.5 * look.type.tick)))
    if len(ticks) > most:
        kept = [ticks[0], ticks[-1]] if most == 2 else ticks[:: -(-len(ticks) // most)]
        axis.set_major_locator(FixedLocator(kept))


@dataclass(frozen=True)
class Steps:
    """A horizontal axis of counts that double: their logarithm, so that 0 has a place too."""

    values: tuple[int, ...]
    label: str

    def at(self, value: float) -> float:
        """Return where a count stands."""
        return float(np.log2(value + (0 in self.values)))

    def place(self, axes: Axes) -> None:
        """Scale and label the axis; `thin` decides which values can be written."""
        places = [self.at(value) for value in self.values]
        margin = max(0.5, 0.08 * (places[-1] - places[0]))
        axes.set_xlim(places[0] - margin, places[-1] + margin)
        axes.set_xticks(places, [f"{value:,}" for value in self.values])
        axes.set_xlabel(self.label)
        axes.grid(visible=False, axis="x")


def thin(axes: Axes, look: Look) -> None:
    """Leave out the tick labels of the horizontal axis for which the width has no room."""
    ticks = [text.get_text() for text in axes.get_xticklabels()]
    if not ticks:
        return
    inches = axes.get_position().width * look.inches
    scale = axes.xaxis.get_transform()
    low, high = scale.transform(np.array(axes.get_xlim()))
    taken, kept = -np.inf, {}
    places = (scale.transform(np.array(axes.get_xticks())) - low) / (high - low) * inches
    # From the right: the largest value is always named.
    for number in range(len(ticks) - 1, -1, -1):
        half = fonts.width(ticks[number], look.type.tick) / 2 + 0.03
        if -places[number] - half > taken:
            kept[number] = ticks[number]
            taken = -places[number] + half
    axes.set_xticks(axes.get_xticks(), [kept.get(number, "") for number in range(len(ticks))])


def collisions(figure: Figure) -> list[tuple[str, str]]:
    """Return the pairs of texts of a finished figure that overlap, and what its edge cuts."""
    figure.draw_without_rendering()  # labels of axes and legends find their place here
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    texts = [text for text in _texts(figure) if text.get_visible() and text.get_text().strip()]
    boxes = np.array([text.get_window_extent(renderer).extents for text in texts])
    if not len(boxes):
        return []
    slack = figure.dpi / 72
    low, high = boxes[:, None, :2], boxes[:, None, 2:]
    shared = np.minimum(high, boxes[None, :, 2:]) - np.maximum(low, boxes[None, :, :2])
    found = np.argwhere(np.triu((shared > slack).all(axis=2), k=1))
    cut = (boxes[:, :2] < -slack).any(axis=1) | (
        boxes[:, 2:] > np.array(figure.bbox.size) + slack
    ).any(axis=1)
    pairs = [(texts[one].get_text(), texts[other].get_text()) for one, other in found]
    return pairs + [(texts[one].get_text(), "the edge") for one in np.flatnonzero(cut)]


def _texts(figure: Figure) -> list[Any]:
    found = [*figure.texts]
    for axes in figure.axes:
        found += [child for child in axes.get_children() if isinstance(child, Text)]
        for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            if axes.axison and axis.get_visible():
                low, high = min(low, high), max(low, high)
                ticks = (t for t in axis.get_major_ticks() if low <= t.get_loc() <= high)
                found += [axis.label, *(tick.label1 for tick in ticks)]
    for legend in figure.legends:
        found += legend.get_texts()
    return found
