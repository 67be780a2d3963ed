"""What is wrong with the layout of a figure: texts on texts, texts outside, labels under lines."""

from itertools import combinations

from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from analysis.drawing.style import Look

TOLERANCE = 1.0
"""Pixels at 100 dpi that boxes may share: glyph boxes are a little larger than their ink."""


def texts(figure: Figure, lang: str = "en") -> list[Text]:
    """Every visible text that says something, legends and tick labels included."""
    figure.set_dpi(100)
    with Look(lang=lang).drawing():
        figure.canvas.draw()
    found = [
        text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()
    ]
    hidden = _undrawn(figure)
    return [text for text in found if id(text) not in hidden]


def overlaps(figure: Figure, lang: str = "en") -> list[tuple[str, str]]:
    """Pairs of texts whose boxes overlap."""
    boxes = [(text, _box(text)) for text in texts(figure, lang)]
    return [
        (one.get_text(), other.get_text())
        for (one, first), (other, second) in combinations(boxes, 2)
        if _area(Bbox.intersection(first, second))
    ]


def outside(figure: Figure, lang: str = "en") -> list[str]:
    """Texts that the edge of the figure cuts."""
    width, height = figure.bbox.width, figure.bbox.height
    return [
        text.get_text()
        for text in texts(figure, lang)
        if not (
            _box(text).x0 >= -TOLERANCE
            and _box(text).y0 >= -TOLERANCE
            and _box(text).x1 <= width + TOLERANCE
            and _box(text).y1 <= height + TOLERANCE
        )
    ]


def crossed(figure: Figure, lang: str = "en") -> list[str]:
    """Annotations that a data line (not the grid) runs through."""
    found = []
    for axes in figure.axes:
        lines = [line for line in axes.get_lines() if line.get_linestyle() not in ("None", "none")]
        paths = [axes_path(line) for line in lines]
        for text in (text for text in texts(figure, lang) if text.axes is not None):
            if text not in text.axes.texts or text.get_bbox_patch() is not None:
                continue
            box = _box(text)
            if any(path.intersects_bbox(box, filled=False) for path in paths if len(path.vertices)):
                found.append(text.get_text())
    return found


def axes_path(line):
    """A line's path in pixels."""
    return line.get_transform().transform_path(line.get_path())


def _box(text: Text) -> Bbox:
    return text.get_window_extent()


def _area(box: Bbox | None) -> bool:
    return box is not None and box.width > TOLERANCE and box.height > TOLERANCE


def _undrawn(figure: Figure) -> set[int]:
    """Tick labels that exist but are not drawn: outside the view, or of a hidden axis."""
    hidden = set()
    for axes in figure.axes:
        for axis, bounds in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            low, high = sorted(bounds)
            span = (high - low) * 1e-9
            shown = axes.axison and axes.get_visible() and axis.get_visible()
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                inside = low - span <= tick.get_loc() <= high + span
                if not (shown and inside):
                    hidden |= {id(tick.label1), id(tick.label2)}
    return hidden
