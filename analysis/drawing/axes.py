"""Ticks few enough to be read, and labels that stand on nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.path import Path
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    MaxNLocator,
    NullFormatter,
    NullLocator,
)
from matplotlib.transforms import Bbox

from analysis.drawing.numbers import plain, written
from analysis.drawing.page import fonts
from analysis.drawing.style import Look

MULTIPLES = ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 5.0, 7.0))
"""Tick values within a decade, coarse to fine; the coarsest with four ticks in view is used."""
ENOUGH = 4
LINE = 1.25
"""Height of a line of text, in font sizes."""
AROUND = 3.0
"""Points kept free beside a label."""
NEAR = ((0, 6), (0, -6), (6, 5), (-6, 5), (6, -5), (-6, -5))
FAR = (
    *((12, 14), (-12, 14), (12, -14), (-12, -14), (24, 0), (-24, 0), (0, 22), (0, -22)),
    *((26, 18), (-26, 18), (26, -18), (-26, -18), (16, 30), (-16, 30), (16, -30), (-16, -30)),
)
"""Where a label may stand, in points from its point; a far one is joined to it by a line."""


@dataclass(frozen=True)
class Label:
    """A text that belongs to a point of the data."""

    x: float
    y: float
    text: str
    color: str
    at_top: bool = False
    """Stand at the upper edge of the panel, above the point."""


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


def place_labels(axes: Axes, labels: Sequence[Label], look: Look, *, leaders: bool = False) -> int:
    """Write each label where it touches nothing, in the order given; the others are left out.

    `leaders`: a label may also stand farther off, joined to its point by a line. Returns how
    many were written.
    """
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    # What no label may touch, in pixels: lines, markers, texts; whiskers if it can be helped.
    obstacles: list[Any] = []
    markers: list[Bbox] = []
    for line in axes.get_lines():
        path = line.get_transform().transform_path(line.get_path())
        centres = np.asarray(path.vertices, dtype=float)
        if len(centres) and line.get_linestyle() not in ("None", "none"):
            obstacles.append(path)
        if line.get_marker() not in ("None", "none", None, ""):
            reach = 0.55 * line.get_markersize() * figure.dpi / 72
            centres = centres[np.isfinite(centres).all(axis=1)]
            corners = np.hstack([centres - reach, centres + reach])
            markers += [Bbox.from_extents(*corner.tolist()) for corner in corners]
    drawn = (path for whiskers in axes.collections for path in whiskers.get_paths())
    whiskers = [axes.transData.transform_path(path) for path in drawn]
    obstacles += markers
    obstacles += [bar.get_window_extent() for bars in axes.containers for bar in bars]
    obstacles += [text.get_window_extent() for text in axes.texts if text.get_text()]
    placing = _Placing(axes, look, figure.dpi / 72, obstacles, whiskers, markers)
    return sum(placing.write(label, leaders=leaders) for label in labels)


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


@dataclass(frozen=True)
class _Placing:
    """The state of placing labels in one panel: what is taken so far."""

    axes: Axes
    look: Look
    pixel: float
    obstacles: list[Any]
    whiskers: list[Path]
    markers: list[Bbox]
    taken: list[Bbox] = field(default_factory=list)
    ways: list[Path] = field(default_factory=list)
    """The lines that join far labels to their points."""

    def write(self, label: Label, *, leaders: bool) -> bool:
        y = label.y if np.isfinite(label.y) else 1.0
        x, y = self.axes.transData.transform((label.x, y))
        if label.at_top:
            return self._try(replace(label), x, self.axes.bbox.y1 - 2 * self.pixel, (0, 0))
        # Where there is no room for all lines, the first says the value.
        for one in (label, replace(label, text=label.text.partition("\n")[0])):
            if any(self._try(one, x, y, offset, apart=leaders) for offset in NEAR):
                return True
        return leaders and any(
            self._try(label, x, y, offset, apart=True, over_whiskers=is_crowded)
            for is_crowded in (False, True)
            for offset in FAR
        )

    def _try(
        self,
        label: Label,
        x: float,
        y: float,
        offset: tuple[int, int],
        *,
        apart: bool = False,
        over_whiskers: bool = False,
    ) -> bool:
        """Write a label beside its point, if it touches nothing there.

        apart: nor may it, or the line to it, come as near to another point.
        """
        point = (x, y)
        x, y = x + offset[0] * self.pixel, y + offset[1] * self.pixel
        size, lines = self.look.type.value, label.text.split("\n")
        wide = (max(fonts.width(line, size) for line in lines) * 72 + AROUND) * self.pixel
        high = size * LINE * len(lines) * self.pixel
        left = x - wide / 2 if not offset[0] else x if offset[0] > 0 else x - wide
        bottom = y if offset[1] > 0 else y - high if offset[1] < 0 or label.at_top else y - high / 2
        box, frame = Bbox.from_bounds(left, bottom, wide, high), self.axes.bbox
        inside = frame.x0 < box.x0 and box.x1 < frame.x1 and frame.y0 < box.y0 and box.y1 < frame.y1
        if not inside or any(box.overlaps(other) for other in self.taken):
            return False
        way = Path([point, (x, y)]) if offset in FAR else None
        if any(other.intersects_bbox(box, filled=False) for other in self.ways):
            return False
        if apart and self._is_nearer_to_another(box, point, way):
            return False
        for one in self.obstacles if over_whiskers else (*self.obstacles, *self.whiskers):
            is_box = isinstance(one, Bbox)
            touches = box.overlaps(one) if is_box else one.intersects_bbox(box, filled=False)
            if touches:
                return False
        self._draw(label, offset)
        self.taken.append(box)
        self.ways.extend([way] if way else [])
        return True

    def _is_nearer_to_another(
        self, box: Bbox, point: tuple[float, float], way: Path | None
    ) -> bool:
        """Tell whether a reader would take a label for that of another point."""
        others = [one for one in self.markers if not one.contains(*point)]
        if way:  # says whose the label is, unless it meets another point, label or line
            met = any(way.intersects_bbox(one, filled=False) for one in (*others, *self.taken))
            return met or any(way.intersects_path(one, filled=False) for one in self.ways)
        own = _distance(box, *point)
        return any(_distance(box, (o.x0 + o.x1) / 2, (o.y0 + o.y1) / 2) < 1.4 * own for o in others)

    def _draw(self, label: Label, offset: tuple[int, int]) -> None:
        text = self.axes.annotate(
            label.text,
            (label.x, 1.0 if label.at_top else label.y),
            xycoords=("data", "axes fraction") if label.at_top else "data",
            xytext=(0, -2) if label.at_top else offset,
            textcoords="offset points",
            annotation_clip=False,
        )
        side = "center" if not offset[0] else "left" if offset[0] > 0 else "right"
        below = offset[1] < 0 or label.at_top
        upright = "bottom" if offset[1] > 0 else "top" if below else "center"
        text.set(ha=side, va=upright, fontsize=self.look.type.value, color=label.color)
        text.set(linespacing=1.15, zorder=6, path_effects=halo(self.look))
        if offset in FAR:
            line = {"arrowstyle": "-", "color": self.look.ground.quiet, "lw": 0.5, "shrinkB": 2}
            near = (offset[0] * 0.95, offset[1] * 0.95)
            point = (label.x, label.y)
            self.axes.annotate("", point, near, textcoords="offset points", arrowprops=line)


def _distance(box: Bbox, x: float, y: float) -> float:
    """Return how far a point is from a box, in pixels."""
    return float(np.hypot(max(box.x0 - x, 0, x - box.x1), max(box.y0 - y, 0, y - box.y1)))


def halo(look: Look) -> list[withStroke]:
    """Return what keeps a text legible where a grid line passes behind it."""
    return [withStroke(linewidth=2.0, foreground=look.ground.panel)]
