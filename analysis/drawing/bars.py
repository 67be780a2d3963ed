"""Values by name: grouped bars for a few short names, rows of dots for many or long ones.

What was not measured is absent and said to be, never 0; what is infinite stands at the edge,
with a mark.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.transforms import blended_transform_factory

from analysis.drawing.axes import LINE, linear_ticks, log_ticks, thin
from analysis.drawing.page import fonts
from analysis.drawing.page.panels import Later
from analysis.drawing.style import Look
from analysis.rows.frames import is_missing
from analysis.rows.intervals import Reals

GROUP_WIDTH = 0.72
WIDEST = 0.42
LOG_ABOVE = 20.0
"""A panel whose largest value exceeds its smallest by this factor is drawn in log scale."""
NAME_LINES = 2
"""Lines of a name below a group of bars; longer names stand beside rows of dots."""
NAME_SHARE = 0.36
"""Of a panel's width that the names beside rows of dots may take."""
NARROWEST = 1.15
"""Inches of a panel of rows without its names and numbers: axes, their ticks, and gaps."""
ROW_LINES = 3
ROW_GAP = 0.05
INFINITE = "∞"


@dataclass(frozen=True, kw_only=True)
class Series:
    """One colour of bars or dots: a value per group, null where there is none."""

    label: str
    color: str
    values: pd.Series
    low: pd.Series | None = None
    high: pd.Series | None = None
    hollow: pd.Series | None = None
    hatch: str = ""
    marker: str = "o"

    def at(self, group: int) -> tuple[float, float, float] | None:
        """Return value, low and high of a group; None if it was not measured."""
        value = self.values.iloc[group]
        if is_missing(value):
            return None
        bounds = [
            float(value) if bound is None or is_missing(bound.iloc[group]) else bound.iloc[group]
            for bound in (self.low, self.high)
        ]
        return float(value), float(bounds[0]), float(bounds[1])

    def is_hollow(self, group: int) -> bool:
        """Tell whether a value stands for something else than it seems to."""
        return self.hollow is not None and bool(self.hollow.iloc[group])


@dataclass(frozen=True, kw_only=True)
class Chart:
    """What one panel shows: the series, the names of the groups and how values are written."""

    series: Sequence[Series]
    names: Sequence[str]
    write: Callable[[float], str]
    absent: str
    """What is written where there is no value."""
    label: str
    label_log: str = ""
    """Of the value axis; the second if it is in log scale, which it may be if there is one."""
    limit: float | None = None
    """The end of the axis, where that is a matter of the unit."""
    notes: Sequence[str] = ()
    """A line for each group: below its name, or beside its row."""


def as_bars(charts: Sequence[Chart], look: Look, columns: int) -> bool:
    """Tell whether names and values of all charts have room in groups of bars."""
    columns = max(1, min(columns, int(look.inches / look.type.panel_width)))
    panel = look.inches / columns - 0.7
    group = panel / (max(len(charts[0].names), 1) + 0.2)
    sizes = look.type
    for chart in charts:
        if any(len(fonts.wrap(n, group, sizes.tick)) > NAME_LINES for n in chart.names):
            return False
        notes = [line for note in chart.notes for line in note.split("\n")]
        if any(fonts.width(line, sizes.value) > group for line in notes):
            return False
        bar = min(GROUP_WIDTH / len(chart.series), WIDEST) * group
        values = pd.concat([one.values for one in chart.series]).dropna()
        if any(fonts.width(chart.write(value), sizes.value) > bar * 1.05 for value in values):
            return False
    return all(fonts.width(word, sizes.tick) < group for n in charts[0].names for word in n.split())


def bars(axes: Axes, chart: Chart, look: Look, later: Later) -> None:
    """Draw the series side by side in every group, labelled with their values."""
    series, groups = chart.series, len(chart.names)
    width = min(GROUP_WIDTH / len(series), WIDEST)
    _scale(axes, chart, vertical=True)
    for number, one in enumerate(series):
        left = (number - (len(series) - 1) / 2) * width
        for group in range(groups):
            _bar(axes, one, group, (group + left, width * 0.92), chart, look)
    axes.set_xlim(-0.6, groups - 0.4)
    axes.grid(visible=False, axis="x")

    def name_groups() -> None:
        inches = axes.get_position().width * look.inches / (groups + 0.2)
        names = ["\n".join(fonts.wrap(name, inches, look.type.tick)) for name in chart.names]
        notes = chart.notes or [""] * groups
        written = [f"{name}\n{note}".rstrip() for name, note in zip(names, notes, strict=True)]
        axes.set_xticks(range(groups), written)

    later.names.append(name_groups)


def _bar(
    axes: Axes, one: Series, group: int, place: tuple[float, float], chart: Chart, look: Look
) -> None:
    """Draw one bar at (x, width), or say that there is none."""
    (x, width), found, size = place, one.at(group), look.type.value
    if found is None:
        text = axes.annotate(chart.absent, (x, 0), xycoords=("data", "axes fraction"))
        text.set(ha="center", va="bottom", rotation=90, fontsize=size, color=look.ground.quiet)
        text.set_bbox({"facecolor": look.ground.panel, "edgecolor": "none", "pad": 1})
        text.xyann, text.anncoords = (0, 4), "offset points"
        return
    value, low, high = found
    top = axes.get_ylim()[1]
    is_hollow = one.is_hollow(group)
    face = look.ground.panel if is_hollow else one.color
    edge = one.color if is_hollow or not one.hatch else look.ground.panel
    height = value if np.isfinite(value) else top
    bar = axes.bar(x, height, width, facecolor=face, edgecolor=edge, hatch=one.hatch)
    bar.patches[0].set_linewidth(1.3 if is_hollow else 0)
    bar.set_label(one.label)
    if low < high < np.inf:
        axes.vlines(x, low, high, color=look.ground.ink, linewidth=1.0)
    if not np.isfinite(value):
        axes.plot(x, top, "^", color=one.color, clip_on=False, markersize=5)
    text = axes.annotate(chart.write(value), (x, min(max(value, high), top)))
    text.set(fontsize=size, ha="center", va="bottom")
    text.xyann, text.anncoords = (0, 2.5), "offset points"


@dataclass(frozen=True)
class Rows:
    """How the rows of a chart stand among those of others."""

    columns: int
    """Panels side by side."""
    order: tuple[int, ...] = ()
    """Of the groups, where several panels share the names at their left; else by value."""
    is_named: bool = True

    @property
    def gap(self) -> float:
        """Inches between rows: close together where many facets share a page."""
        return ROW_GAP / 3 if self.order else ROW_GAP


def by_value(chart: Chart) -> tuple[int, ...]:
    """Order the groups by the value of the last series, the smallest first, unknown ones last."""
    last = chart.series[-1].values.astype(float).reset_index(drop=True)
    return tuple(int(group) for group in last.sort_values(kind="stable").index)


def rows_height(chart: Chart, look: Look, among: Rows) -> float:
    """Return the inches that the rows of a chart take."""
    _, lines = _rows_names(chart, look, among)
    return sum(lines) * look.type.tick * LINE / 72 + among.gap * (len(lines) + 1)


def rows(axes: Axes, chart: Chart, look: Look, later: Later, among: Rows) -> None:
    """Draw one row of dots for each name, the values written at its end."""
    names, lines = _rows_names(chart, look, among)
    order = among.order or by_value(chart)
    step = look.type.tick * LINE / 72
    heights = np.array([lines[group] * step + among.gap for group in order])
    places = np.cumsum(heights) - heights / 2 + among.gap / 2
    _scale(axes, chart, vertical=False)
    widest = max(fonts.width(line, look.type.tick) for name in names for line in name.split("\n"))
    panel = (look.inches - widest) / among.columns if among.order else look.inches / among.columns
    room = panel - NARROWEST - (0 if among.order else widest)
    texts = _row_texts(chart, panel, room, look)
    for one in chart.series:
        _dots(axes, one, [*zip(places, order, strict=True)], look)
    _write_rows(axes, chart, [*zip(places, order, strict=True)], texts, look)
    axes.set_ylim(float(heights.sum()) + among.gap, 0)
    written = [names[group] if among.is_named else "" for group in order]
    axes.set_yticks(places, written, linespacing=1.1)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    later.names.append(lambda: thin(axes, look))


def _row_texts(chart: Chart, panel: float, room: float, look: Look) -> list[str]:
    """Write the values of every row: the baseline's, ours, and a note, as many as have room.

    Where the panel is narrow, ours alone or none: the dots and the summary table say the rest.
    """
    every, ours = [], []
    for group in range(len(chart.names)):
        values = [chart.write(found[0]) for one in chart.series if (found := one.at(group))]
        every.append(" → ".join(values) or chart.absent)
        own = chart.series[-1].at(group)
        ours.append(chart.write(own[0]) if own else chart.absent)

    def fits(texts: list[str], room: float) -> bool:
        return all(fonts.width(text, look.type.value) <= room for text in texts)

    notes = [note.partition("\n")[0] for note in chart.notes] or [""] * len(every)
    noted = [", ".join(filter(None, pair)) for pair in zip(every, notes, strict=True)]
    if panel >= look.type.panel_width:
        return noted if fits(noted, panel * 0.3) else every
    return next((texts for texts in (every, ours) if fits(texts, room)), [""] * len(every))


def _dots(axes: Axes, one: Series, rows: Sequence[tuple[float, int]], look: Look) -> None:
    """Draw the dots of a series with their whiskers, for rows of (place, group)."""
    end = axes.get_xlim()[1]
    kinds: dict[tuple[bool, bool], list[tuple[float, float]]] = {}
    whiskers = []
    for place, group in rows:
        if (found := one.at(group)) is None:
            continue
        value, low, high = found
        is_known = bool(np.isfinite(value))
        at = (value if is_known else end, place)
        kinds.setdefault((one.is_hollow(group), is_known), []).append(at)
        if low < high < np.inf:
            whiskers.append((place, low, high))
    if whiskers:
        axes.hlines(*zip(*whiskers, strict=True), color=one.color, linewidth=1.0)
    for (is_hollow, is_known), points in sorted(kinds.items()):
        marker = one.marker if is_known else ">"
        x, y = zip(*points, strict=True)
        (dots,) = axes.plot(x, y, marker, color=one.color, label=one.label, clip_on=False)
        dots.set(markersize=look.type.marker, zorder=4)
        dots.set_markerfacecolor(look.ground.panel if is_hollow else one.color)


def _write_rows(
    axes: Axes, chart: Chart, rows: Sequence[tuple[float, int]], texts: list[str], look: Look
) -> None:
    """Join the dots of every row, and write behind its end their values."""
    beside = blended_transform_factory(axes.transAxes, axes.transData)
    spans = []
    for place, group in rows:
        values = [found[0] for one in chart.series if (found := one.at(group))]
        ends = [value for value in values if np.isfinite(value)]
        if len(ends) > 1:
            spans.append((place, min(ends), max(ends)))
        written = axes.text(1.02, place, texts[group], transform=beside)
        written.set(va="center", fontsize=look.type.value)
        written.set_color(look.ground.ink if values else look.ground.quiet)
    if spans:
        joints = axes.hlines(*zip(*spans, strict=True), color=look.ground.rim, linewidth=0.9)
        joints.set_zorder(1.5)


def _rows_names(chart: Chart, look: Look, among: Rows) -> tuple[list[str], list[int]]:
    share = max(0.16, NAME_SHARE / 2 / among.columns) if among.order else NAME_SHARE / among.columns
    room, size = look.inches * share, look.type.tick
    wrapped = [fonts.shorten(name, room, size, ROW_LINES) for name in chart.names]
    return ["\n".join(lines) for lines in wrapped], [len(lines) for lines in wrapped]


def _scale(axes: Axes, chart: Chart, *, vertical: bool) -> None:
    """Start the axis at 0, or draw it in log scale where small values would vanish."""
    ends = [one.values if one.high is None else one.high.fillna(one.values) for one in chart.series]
    tops = _finite(pd.concat(ends))
    values = _finite(pd.concat([one.values for one in chart.series]))
    axis = axes.yaxis if vertical else axes.xaxis
    name, limits = ("y", axes.set_ylim) if vertical else ("x", axes.set_xlim)
    label = chart.label
    may_be_log = chart.limit is None and chart.label_log and values.min(initial=np.inf) > 0
    if not len(values):
        limits(0, 1)
        axis.set_ticks([])
    elif may_be_log and values.max() / values.min() > LOG_ABOVE:
        axes.set(**{f"{name}scale": "log"})
        limits(10 ** np.floor(np.log10(values.min()) - 0.2), max(values.max(), tops.max()) * 3)
        log_ticks(axis)
        label = chart.label_log
    else:
        top = max(tops.max(initial=0), values.max())
        limits(min(0.0, values.min() * 1.2), chart.limit or max(top * 1.18, 1e-9))
        linear_ticks(axis)
    (axes.set_ylabel if vertical else axes.set_xlabel)(label)


def _finite(values: pd.Series) -> Reals:
    found: Reals = values.dropna().to_numpy(dtype=float)
    finite: Reals = found[np.isfinite(found)]
    return finite
