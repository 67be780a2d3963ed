"""Labels beside points of a scatter, where they cover neither each other nor a point.

A label that fits nowhere is left out: the caption and the table have the numbers, and a heap of
text has none.
"""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

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
