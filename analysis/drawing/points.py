"""Points of a curve with their whiskers, their marks, and whether their labels have room."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.drawing.axes import LINE
from analysis.drawing.page import fonts
from analysis.drawing.page.labels import Label
from analysis.drawing.style import LOOKS, Look


def points(
    axes: Axes,
    rows: pd.DataFrame,
    columns: tuple[str, str, str],
    hollow: "pd.Series[bool]",
    look: Look,
    x: str = "x",
) -> None:
    """Draw streaming points with whiskers; hollow where they say nothing of streaming."""
    value, low, high = columns
    role, style, marker = LOOKS["streaming"]
    color = look.colors[role]
    finite = rows[np.isfinite(rows[value].astype(float))]
    axes.plot(finite[x], finite[value], style, color=color, zorder=3, linewidth=look.type.line)
    whole = finite[finite[low].notna() & finite[high].notna() & np.isfinite(finite[high])]
    axes.vlines(whole[x], whole[low], whole[high], color=color, linewidth=1.0, zorder=3)
    for is_hollow in (False, True):
        part = finite[hollow.loc[finite.index].eq(is_hollow)]
        if is_hollow and part.empty:
            continue  # filled ones have their entry in the legend even so
        name = look.name("hollow" if is_hollow else "streaming")
        (dots,) = axes.plot(part[x], part[value], marker, color=color, label=name)
        dots.set(markeredgewidth=1.3, zorder=4, clip_on=part.empty)  # whole, also at 0
        dots.set_markersize(look.type.marker)
        dots.set_markerfacecolor(look.ground.panel if is_hollow else color)
    at_edge(axes, rows[~rows.index.isin(finite.index)][x], color, look)


def at_edge(axes: Axes, places: Iterable[float], color: str, look: Look) -> None:
    """Mark infinite values at the upper edge of the panel."""
    found = list(places)
    if found:
        (marks,) = axes.plot(found, [1.0] * len(found), "^", transform=axes.get_xaxis_transform())
        marks.set(color=color, clip_on=False, zorder=6, label=look.name("infinite"))
        marks.set_markersize(look.type.marker)


def whiskered(axes: Axes, rows: pd.DataFrame, kind: str, name: str, look: Look) -> None:
    """Draw a baseline with its whiskers where they were recorded."""
    if rows.empty:
        return
    role, style, marker = LOOKS[kind]
    color = look.colors[role]
    (line,) = axes.plot(rows["x"], rows["value"], style, color=color, marker=marker, label=name)
    # Larger than the points of the curve, to be seen behind those that coincide with it.
    line.set(linewidth=look.type.line * 0.8, markersize=look.type.marker * 1.2, clip_on=False)
    whole = rows[rows["low"].notna() & rows["high"].notna()]
    axes.vlines(whole["x"], whole["low"], whole["high"], color=color, linewidth=1.0)


def mark(
    axes: Axes,
    rows: pd.DataFrame,
    marker: str,
    size: float,
    label: str,
    look: Look,
    *,
    filled: bool = True,
) -> None:
    """Put a red mark on points, if there are any; one that is not filled goes around them."""
    rows = rows[np.isfinite(rows["perplexity"].astype(float))]
    if rows.empty:
        return
    (dot,) = axes.plot(rows["x"], rows["perplexity"], marker, color=look.ground.red, label=label)
    dot.set(markersize=size * look.type.marker, zorder=5, linestyle="none")
    dot.set_markeredgecolor(look.ground.panel if filled else look.ground.red)
    # In proportion: a rim of the usual width leaves nothing of a small star.
    dot.set_markeredgewidth((0.13 if filled else 0.16) * look.type.marker)
    if not filled:
        dot.set_markerfacecolor("none")


def all_fit(axes: Axes, labels: list[Label], look: Look) -> bool:
    """Tell whether the labels stand side by side without touching, in a third of the panel."""
    low, high = axes.get_xlim()
    inches = axes.get_position().width * look.inches
    lines = max((label.text.count("\n") + 1 for label in labels), default=0)
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    tall = axes.get_position().height * float(figure.get_size_inches()[1])
    if lines * look.type.value * LINE / 72 > 0.36 * tall:
        return False
    end = -np.inf
    for label in sorted(labels, key=lambda one: one.x):
        half = max(fonts.width(line, look.type.value) for line in label.text.split("\n")) / 2
        place = (label.x - low) / (high - low) * inches
        if place - half < end + 0.04 or place - half < 0 or place + half > inches:
            return False
        end = place + half
    return True
