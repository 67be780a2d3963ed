"""The sheet a figure is drawn on: title, legend, panels, caption, fitted to a width.

Everything is measured before it is placed, so that no text can land on another: decorations
first give the columns their width, the width decides which names are broken and which ticks
are written, and the height of the sheet follows. Figures are built without pyplot: no global
state, no display.
"""

import warnings
from dataclasses import replace
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from analysis.drawing.axes import LINE, collisions, fewer_ticks
from analysis.drawing.page import fonts
from analysis.drawing.page.arrangement import arranged, share_labels
from analysis.drawing.page.panels import Later, Page, joined
from analysis.drawing.style import Look
from analysis.errors import DoesNotFitError

MARGIN = 0.08
"""Inches at the edges."""
GAP = 0.1
"""Inches between neighbouring panels."""
BESIDE = 0.18
"""Inches to the label of the axis of the next panel, where facets do not share it."""
SMALLEST = (0.75, 0.55)
"""Inches that a panel needs inside its axes."""
LEADING = 1.38
"""Height of a line of the caption, in font sizes; what matplotlib calls so is 0.86 of it."""


def compose(page: Page, look: Look) -> tuple[Figure, Page]:
    """Draw a page at the look's width; return the page with what its caption came to say, too.

    Raises `DoesNotFitError` if that is too narrow.
    """
    chosen = list(mpl.rcParams["font.family"])
    labels = [page.title, *page.caption, *page.names, *(name for name, _ in page.groups)]
    mpl.rcParams["font.family"] = fonts.covering(labels, chosen)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=fonts.MISSING_GLYPH)
            return _composed(page, look)
    finally:
        mpl.rcParams["font.family"] = chosen


def _composed(page: Page, look: Look, fewer: int = 0) -> tuple[Figure, Page]:
    """Draw a page, with fewer facets side by side where so many have no room."""
    sheet = _Sheet(page, look, fewer)
    try:
        figure = sheet.draw()
        fonts.replace_missing(figure)
        if found := collisions(figure):
            raise DoesNotFitError(look.inches, f"{found[0][0]!r} would overlap {found[0][1]!r}")
    except DoesNotFitError:
        if not sheet.is_grid or sheet.columns == 1 or look.figsize:
            raise
        return _composed(page, look, fewer + 1)
    return figure, sheet.page


class _Sheet:
    """One page being laid out; all lengths are inches."""

    def __init__(self, page: Page, look: Look, fewer: int = 0) -> None:
        self.page, self.look, self.sizes = page, look, look.type
        self.width = look.inches
        self.figure = Figure(figsize=(self.width, 4.0), dpi=look.dpi)
        FigureCanvasAgg(self.figure)
        self.later = Later()
        self.is_grid = len(page.groups) > 1 and not page.stacked
        rows, lower = arranged(page, look, fewer)
        self.columns = max(map(len, rows))
        self.panels = [panel for row in rows for panel in row]
        self.places = [(r, c) for r, row in enumerate(rows) for c in range(len(row))]
        self.axes = [self.figure.add_axes((0.1, 0.1, 0.8, 0.8)) for _ in self.panels]
        usual = self.sizes.panel_height * lower
        self.over = [[] if not row else _over(row[0].over, look) for row in rows]
        tall = [[panel.inches or panel.height * usual for panel in row] for row in rows]
        self.heights = np.array([max(row, default=0.0) for row in tall])

    def draw(self) -> Figure:
        """Draw, measure, place: the steps in their order."""
        for axes, panel, (row, _) in zip(self.axes, self.panels, self.places, strict=True):
            panel.draw(axes, self.later)
            if panel.inches is None:
                fewer_ticks(axes.yaxis, self.heights[row], self.look)
        if len(self.page.groups) > 1:
            share_labels([*zip(self.axes, self.panels, self.places, strict=True)], self.is_grid)
        self._horizontally()
        for step in self.later.names:
            step()
        # Titles break at the panel's width, labels of the axes at their length.
        widest = max(fonts.width(panel.title, self.sizes.panel, bold=True) for panel in self.panels)
        # Long ones begin above the labels of the axis, beside which little room is left for them.
        hang, titles = (1.0 if widest > self.inner else 0.0), []
        for axes, panel, (row, column) in zip(self.axes, self.panels, self.places, strict=True):
            wide, size = self.inner + self.left[column] * max(hang, 0.2), self.sizes.panel
            title = axes.set_title(
                "\n".join(fonts.wrap(panel.title, wide, size, bold=True)), loc="left"
            )
            title.set(fontsize=size, fontweight="bold", x=-hang * self.left[column] / self.inner)
            titles.append(title)
            tall = max(self.heights[row], 0.6 if self.is_grid else 0.9)
            foot = self.inner + 0.1 if self.is_grid else wide
            for axis, room in ((axes.xaxis, foot), (axes.yaxis, tall)):
                label = fonts.wrap(axis.label.get_text(), room, self.sizes.label)
                axis.label.set_text("\n".join(label))
        self._horizontally()
        for title, (_, column) in zip(titles, self.places, strict=True):
            title.set_x(-hang * self.left[column] / self.inner)
        self._vertically()
        for step in self.later.labels:
            step()
        if untrue := {*self.page.provided} - self.later.shown:
            self._leave_unsaid(untrue)
        return self.figure

    def _leave_unsaid(self, untrue: set[str]) -> None:
        """Take sentences about labels that had no room out of the caption; all else moves up."""
        told = [one for one in self.page.caption if not one.endswith(tuple(untrue))]
        self.page = replace(self.page, caption=told)
        for artist in (*self.figure.texts, *self.figure.legends):
            artist.remove()
        self._vertically()

    def _horizontally(self) -> None:
        """Give every column its decorations and all of them the same width inside."""
        sides = self._decorations()
        self.left = np.zeros(self.columns)
        right = np.zeros(self.columns)
        for (_, column), side in zip(self.places, sides, strict=True):
            self.left[column] = max(self.left[column], side[0])
            right[column] = max(right[column], side[2])
        gap = GAP if self.is_grid else BESIDE
        taken = 2 * MARGIN + gap * (self.columns - 1) + float(self.left.sum() + right.sum())
        self.inner = (self.width - taken) / self.columns
        least = SMALLEST[0] * (0.75 if self.is_grid else 1.0)
        if self.inner < least:
            needed = self.width + (least - self.inner) * self.columns
            raise DoesNotFitError(self.width, "the panels would be too narrow", width=needed)
        x = MARGIN
        self.x = []
        for column in range(self.columns):
            self.x.append(x + self.left[column])
            x += self.left[column] + self.inner + right[column] + gap
        for axes, (_, column) in zip(self.axes, self.places, strict=True):
            place = axes.get_position()
            left, wide = self.x[column] / self.width, self.inner / self.width
            axes.set_position((left, place.y0, wide, place.height))

    def _decorations(self) -> list[tuple[float, float, float, float]]:
        """Return how far each panel's texts reach beyond its axes: left, bottom, right, top."""
        renderer = self.figure.canvas.get_renderer()  # type: ignore[attr-defined]
        found = []
        for axes in self.axes:
            inner = axes.get_window_extent(renderer)
            outer = axes.get_tightbbox(renderer) or inner
            sides = (
                inner.x0 - outer.x0,
                inner.y0 - outer.y0,
                outer.x1 - inner.x1,
                outer.y1 - inner.y1,
            )
            found.append(tuple(max(0.0, side / self.figure.dpi) for side in sides))
        return found

    def _vertically(self) -> None:
        """Stack title, legend, rows of panels and caption; the height of the sheet follows."""
        rows = len(self.heights)
        above, below = np.zeros(rows), np.zeros(rows)
        for (row, _), side in zip(self.places, self._decorations(), strict=True):
            above[row] = max(above[row], side[3])
            below[row] = max(below[row], side[1])
        bold = self.sizes.panel
        overs = [len(lines) * bold * LINE / 72 + 0.02 * bool(lines) for lines in self.over]
        title, title_height = self._title()
        caption, caption_height = self._caption()
        legend, legend_height = self._legend()
        rest = 2 * MARGIN + title_height + caption_height + legend_height
        rest += float(above.sum() + below.sum()) + GAP * rows + sum(overs)
        height = self._final_height(rest)
        self.figure.set_size_inches(self.width, height)
        top = height - MARGIN - title_height
        narrow = self.sizes.panel_width < 3
        if not narrow:
            _put(legend, self.figure, MARGIN, top)
            top -= legend_height
        for row in range(rows):
            if self.over[row]:
                place, words = (MARGIN / self.width, top / height), "\n".join(self.over[row])
                text = self.figure.text(*place, words, fontsize=bold, fontweight="bold", va="top")
                text.set(linespacing=1.1, gid="row")
            top -= overs[row] + above[row] + self.heights[row]
            for axes, (own, column) in zip(self.axes, self.places, strict=True):
                if own == row:
                    place = (self.x[column] / self.width, top / height)
                    size = (self.inner / self.width, self.heights[row] / height)
                    axes.set_position((*place, *size))
            top -= below[row] + GAP
        if narrow:
            _put(legend, self.figure, MARGIN, top)
        if title:
            title.set_position((MARGIN / self.width, 1 - MARGIN / height))
        if caption:
            caption.set_position((MARGIN / self.width, MARGIN / height))

    def _final_height(self, rest: float) -> float:
        """Return the height of the sheet; with `figsize` the panels take what is left."""
        if not self.look.figsize:
            return rest + float(self.heights.sum())
        height = self.look.figsize[1]
        fixed = sum(panel.inches or 0 for panel in self.panels[:: self.columns])
        flexible = [
            panel.inches is None
            for panel, place in zip(self.panels, self.places, strict=True)
            if place[1] == 0
        ]
        least = rest + fixed + SMALLEST[1] * sum(flexible)
        if height < least:
            raise DoesNotFitError(
                self.width, "the panels would be too low", height=least, given=height
            )
        stretch = (height - rest - fixed) / max(float(self.heights[flexible].sum()), 1e-9)
        self.heights[flexible] *= stretch
        return height

    def _title(self) -> tuple[Text | None, float]:
        if not self.look.with_title:
            return None, 0.0
        size = self.sizes.title
        lines = fonts.wrap(self.page.title, self.width - 2 * MARGIN, size, bold=True)
        text = self.figure.text(0, 1, "\n".join(lines), fontsize=size, fontweight="bold", va="top")
        text.set(gid="title", linespacing=1.15)
        return text, len(lines) * size * LINE / 72 + 0.06

    def _caption(self) -> tuple[Text | None, float]:
        if not self.look.with_caption or not self.page.caption:
            return None, 0.0
        size = self.sizes.caption
        lines = fonts.wrap(joined(self.page.caption, self.look), self.width - 2 * MARGIN, size)
        text = self.figure.text(0, 0, "\n".join(lines), fontsize=size, va="bottom")
        text.set(gid="caption", color=self.look.ground.quiet, linespacing=LEADING * 0.86)
        renderer = self.figure.canvas.get_renderer()  # type: ignore[attr-defined]
        return text, text.get_window_extent(renderer).height / self.figure.dpi + 0.06

    def _legend(self) -> tuple[Artist | None, float]:
        """Return one legend for all panels: each label once, in drawing order."""
        entries = [axes.get_legend_handles_labels() for axes in self.axes]
        found: dict[str, Any] = {}
        for handle, label in (one for pair in entries for one in zip(*pair, strict=True)):
            found.setdefault(label, handle)
        if not found:
            return None, 0.0
        room, size = self.width - 2 * MARGIN, self.sizes.tick
        names = ["\n".join(fonts.wrap(name, room - 0.4, size)) for name in found]
        widths = [max(fonts.width(line, size) for line in name.split("\n")) for name in names]
        each = [wide + 4.2 * size / 72 for wide in widths]
        columns = next(
            (
                count
                for count in range(len(names), 1, -1)
                if sum(max(each[start::count]) for start in range(count)) <= room
            ),
            1,
        )
        order = [at for start in range(columns) for at in range(start, len(names), columns)]
        legend = self.figure.legend(
            [list(found.values())[at] for at in order],
            [names[at] for at in order],
            loc="upper left",
            ncols=columns,
            borderpad=0,
            borderaxespad=0,
            columnspacing=1.4,
            handletextpad=0.5,
            handlelength=1.9,
            labelspacing=0.35,
        )
        renderer = self.figure.canvas.get_renderer()  # type: ignore[attr-defined]
        return legend, legend.get_window_extent(renderer).height / self.figure.dpi + 0.1


def _over(title: str, look: Look) -> list[str]:
    """Break the title of a row of panels at the width of the page."""
    return fonts.wrap(title, look.inches - 2 * MARGIN, look.type.panel, bold=True) if title else []


def _put(legend: Artist | None, figure: Figure, x: float, top: float) -> None:
    if legend is not None:
        width, height = figure.get_size_inches()
        legend.set_bbox_to_anchor((x / width, top / height), figure.transFigure)  # type: ignore[attr-defined]
