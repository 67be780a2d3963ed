"""What is wrong with the layout of a figure: texts on texts, texts outside, labels under lines."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text

from analysis.drawing.style import Look

TOLERANCE = 1.0
"""Pixels at 100 dpi that boxes may share: glyph boxes are a little larger than their ink."""


class Layout:
    """A figure drawn once: its visible texts that say something, and their boxes in pixels."""

    def __init__(self, figure: Figure, lang: str = "en") -> None:
        figure.set_dpi(100)
        with Look(lang=lang).drawing():
            figure.canvas.draw()
            hidden = _undrawn(figure)
            self.figure = figure
            self.texts = [
                text
                for text in figure.findobj(Text)
                if text.get_visible() and text.get_text().strip() and id(text) not in hidden
            ]
            self.boxes = [text.get_window_extent() for text in self.texts]
            self.edges = np.array([box.extents for box in self.boxes]).reshape(-1, 4)

    def overlaps(self) -> list[tuple[str, str]]:
        """Pairs of texts whose boxes overlap."""
        low = np.maximum(self.edges[:, None, :2], self.edges[None, :, :2])
        high = np.minimum(self.edges[:, None, 2:], self.edges[None, :, 2:])
        shared = np.triu((high - low > TOLERANCE).all(-1), k=1)
        return [
            (self.texts[one].get_text(), self.texts[other].get_text())
            for one, other in zip(*shared.nonzero(), strict=True)
        ]

    def outside(self) -> list[str]:
        """Texts that the edge of the figure cuts."""
        width, height = self.figure.bbox.width, self.figure.bbox.height
        limits = np.array([width, height]) + TOLERANCE
        cut = (self.edges[:, :2] < -TOLERANCE).any(1) | (self.edges[:, 2:] > limits).any(1)
        return [text.get_text() for text, is_cut in zip(self.texts, cut, strict=True) if is_cut]

    def crossed(self) -> list[str]:
        """Annotations that a data line (not the grid) runs through."""
        paths = [
            line.get_transform().transform_path(line.get_path())
            for axes in self.figure.axes
            for line in axes.get_lines()
            if line.get_linestyle() not in ("None", "none")
        ]
        return [
            text.get_text()
            for text, box in zip(self.texts, self.boxes, strict=True)
            if text.axes is not None
            and text in text.axes.texts
            and text.get_bbox_patch() is None
            and any(path.intersects_bbox(box, filled=False) for path in paths if len(path.vertices))
        ]


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
