"""Labels that stand on nothing else, and nearest to their own points."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.path import Path
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox

from analysis.drawing.axes import LINE
from analysis.drawing.page import fonts
from analysis.drawing.style import Look

AROUND = 3.0
"""Points kept free beside a label."""
NEAR: tuple[tuple[float, float], ...] = ((0, 6), (0, -6), (6, 5), (-6, 5), (6, -5), (-6, -5))
FAR: tuple[tuple[float, float], ...] = (
    *((12, 14), (-12, 14), (12, -14), (-12, -14), (24, 0), (-24, 0), (0, 22), (0, -22)),
    *((26, 18), (-26, 18), (26, -18), (-26, -18), (16, 30), (-16, 30), (16, -30), (-16, -30)),
)
"""Where a label may stand, in points from its point; a far one is joined to it by a line."""
CLOSE = 5.5
"""Points from the middle of a mark, less than the nearest place of a label."""
Boxes = npt.NDArray[np.float64]
"""In pixels: left, bottom, right and top of each."""


@dataclass(frozen=True)
class Label:
    """A text that belongs to a point of the data."""

    x: float
    y: float
    text: str
    color: str
    at_top: bool = False
    """Stand at the upper edge of the panel, above the point."""


def place_labels(axes: Axes, labels: Sequence[Label], look: Look, *, leaders: bool = False) -> int:
    """Write each label where it touches nothing, in the order given; the others are left out.

    `leaders`: a label may also stand farther off, joined to its point by a line. Returns how
    many were written.
    """
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    # What no label may touch, in pixels: lines, markers, texts; whiskers if it can be helped.
    lines: list[Path] = []
    markers = [np.empty((0, 4))]
    for line in axes.get_lines():
        path = line.get_transform().transform_path(line.get_path())
        centres = np.asarray(path.vertices, dtype=float)
        if len(centres) and line.get_linestyle() not in ("None", "none"):
            lines.append(path)
        if line.get_marker() not in ("None", "none", None, ""):
            reach = 0.55 * line.get_markersize() * figure.dpi / 72
            centres = centres[np.isfinite(centres).all(axis=1)]
            markers.append(np.hstack([centres - reach, centres + reach]))
    others = [bar.get_window_extent() for bars in axes.containers for bar in bars]
    others += [text.get_window_extent() for text in axes.texts if text.get_text()]
    drawn = (path for whiskers in axes.collections for path in whiskers.get_paths())
    ends = [np.asarray(axes.transData.transform(path.vertices)) for path in drawn]
    whiskers = [np.concatenate([one.min(axis=0), one.max(axis=0)]) for one in ends if len(one)]
    placing = _Placing(
        *(axes, look, figure.dpi / 72, lines),
        boxes=np.concatenate([*markers, *(one.extents[None] for one in others)]),
        whiskers=np.array(whiskers).reshape(-1, 4),
        markers=np.concatenate(markers),
    )
    return sum(placing.write(label, leaders=leaders) for label in labels)


@dataclass(frozen=True)
class _Placing:
    """The state of placing labels in one panel: what is taken so far."""

    axes: Axes
    look: Look
    pixel: float
    lines: list[Path]
    boxes: Boxes
    whiskers: Boxes
    """Upright or level lines: their boxes are all of them."""
    markers: Boxes
    taken: list[Bbox] = field(default_factory=list)
    ways: list[Path] = field(default_factory=list)
    """The lines that join far labels to their points."""

    def write(self, label: Label, *, leaders: bool) -> bool:
        y = label.y if np.isfinite(label.y) else 1.0
        x, y = self.axes.transData.transform((label.x, y))
        if label.at_top:
            return self._try(label, x, self.axes.bbox.y1 - 2 * self.pixel, (0, 0))
        # Beyond the largest mark on the point: a star or a cross.
        own = self.markers[self._are_at((x, y))]
        reach = float((own[:, 2] - own[:, 0]).max(initial=0.0)) / 2 / self.pixel
        off = max(0.0, reach - CLOSE)
        near = [(dx + off * np.sign(dx), dy + off * np.sign(dy)) for dx, dy in NEAR]
        # Where there is no room for all lines, the first says the value.
        first = label.text.partition("\n")[0]
        for one in [label] if first == label.text else [label, replace(label, text=first)]:
            if any(self._try(one, x, y, offset, apart=leaders) for offset in near):
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
        offset: tuple[float, float],
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
        if _meets(self.boxes, box) or (not over_whiskers and _meets(self.whiskers, box)):
            return False
        if any(one.intersects_bbox(box, filled=False) for one in (*self.lines, *self.ways)):
            return False
        way = Path([point, (x, y)]) if offset in FAR else None
        if apart and self._is_nearer_to_another(box, point, way):
            return False
        self._draw(label, offset)
        self.taken.append(box)
        self.ways.extend([way] if way else [])
        return True

    def _is_nearer_to_another(
        self, box: Bbox, point: tuple[float, float], way: Path | None
    ) -> bool:
        """Tell whether a reader would take a label for that of another point."""
        centres, is_own = (self.markers[:, :2] + self.markers[:, 2:]) / 2, self._are_at(point)
        if way:  # says whose the label is, unless it meets another point, label or line
            ends = np.asarray(way.vertices, dtype=float)
            low, high = ends.min(axis=0), ends.max(axis=0)
            near = (self.markers[:, :2] <= high) & (self.markers[:, 2:] >= low)
            met = self.markers[near.all(axis=1) & ~is_own]
            boxes = [*(Bbox.from_extents(*one) for one in met), *self.taken]
            return any(way.intersects_bbox(one, filled=False) for one in boxes) or any(
                way.intersects_path(one, filled=False) for one in self.ways
            )
        away = _distances(box, centres[~is_own])
        return bool((away < 1.4 * _distances(box, np.array([point]))).any())

    def _are_at(self, point: tuple[float, float]) -> npt.NDArray[np.bool_]:
        """Tell which markers are on a point."""
        at = np.array(point)
        inside: npt.NDArray[np.bool_] = (self.markers[:, :2] <= at) & (self.markers[:, 2:] >= at)
        return np.logical_and(inside[:, 0], inside[:, 1])

    def _draw(self, label: Label, offset: tuple[float, float]) -> None:
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


def _meets(boxes: Boxes, box: Bbox) -> bool:
    """Tell whether a box overlaps one of others."""
    low, high = boxes[:, :2] <= box.max, boxes[:, 2:] >= box.min
    return bool((low & high).all(axis=1).any())


def _distances(box: Bbox, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return how far points are from a box, in pixels."""
    apart = np.maximum(np.maximum(box.min - points, points - box.max), 0.0)
    return np.hypot(apart[:, 0], apart[:, 1])


def halo(look: Look) -> list[withStroke]:
    """Return what keeps a text legible where a grid line passes behind it."""
    return [withStroke(linewidth=2.0, foreground=look.ground.panel)]
