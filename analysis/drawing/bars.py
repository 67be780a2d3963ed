"""Grouped bars with whiskers and value labels: what was not measured is absent, never 0."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.drawing.axes import log_ticks
from analysis.drawing.style import Look
from analysis.rows.frames import is_missing

GROUP_WIDTH = 0.72
WIDEST = 0.42
SMALLEST = 6.5
"""Size of a name, in points, below which it is cut short instead."""
LOG_ABOVE = 20.0
"""A panel whose largest value exceeds its smallest by this factor is drawn in log scale."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """One colour of bars: a value per group, null where there is none."""

    label: str
    color: str
    values: pd.Series
    low: pd.Series | None = None
    high: pd.Series | None = None
    hollow: pd.Series | None = None
    hatch: str = ""
    absent: str = "not measured"
    """What is written where there is no bar."""


def draw(
    axes: Axes, series: Sequence[Series], groups: Sequence[str], write: Callable[[float], str]
) -> None:
    """Draw the series side by side in every group, labelled with `write(value)`."""
    width = min(GROUP_WIDTH / len(series), WIDEST)
    size = _font_size(axes, series, len(groups), write)
    _scale(axes, series)
    for number, one in enumerate(series):
        left = (number - (len(series) - 1) / 2) * width
        for group in range(len(groups)):
            _bar(axes, one, group, (group + left, width * 0.92), write)
    for label in axes.texts:
        label.set_fontsize(min(size, label.get_fontsize()))
    names, name_size = _names(axes, groups)
    axes.set_xticks(range(len(groups)), names, fontsize=name_size)
    axes.set_xlim(-0.5 - 0.1, len(groups) - 0.5 + 0.1)
    axes.grid(visible=False, axis="x")
    axes.set_axisbelow(True)


def _bar(
    axes: Axes,
    one: Series,
    group: int,
    place: tuple[float, float],
    write: Callable[[float], str],
) -> None:
    """Draw one bar at (x, width), or say that there is none."""
    (x, width), value = place, one.values.iloc[group]
    if is_missing(value):
        _absent(axes, x, one.absent)
        return
    is_hollow = one.hollow is not None and bool(one.hollow.iloc[group])
    face = "white" if is_hollow else one.color
    edge = one.color if is_hollow or not one.hatch else "white"
    bar = axes.bar(x, value, width, facecolor=face, edgecolor=edge, hatch=one.hatch)
    bar.patches[0].set_linewidth(1.6 if is_hollow else 0)
    bar.set_label(one.label)
    low, high = _bound(one.low, group), _bound(one.high, group)
    if low is not None and high is not None:
        axes.vlines(x, low, high, color="#2B2F33", linewidth=1.3)
    axes.annotate(
        write(value),
        (x, max(value, high or value)),
        xytext=(0, 3),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=9,
    )


def _font_size(
    axes: Axes, series: Sequence[Series], groups: int, write: Callable[[float], str]
) -> float:
    """Return the size at which the values of neighbouring bars stand side by side."""
    values = pd.concat([one.values for one in series]).dropna()
    longest = max((len(write(value)) for value in values), default=1)
    bar = _group_points(axes, groups) * GROUP_WIDTH / len(series)
    return min(9.0, bar / (0.66 * longest))


def _names(axes: Axes, groups: Sequence[str]) -> tuple[list[str], float]:
    """Return the names of the groups, cut short if need be, and the size at which they fit."""
    longest = max(len(line) for name in groups for line in name.split("\n"))
    room = _group_points(axes, len(groups)) * 0.94
    size = max(min(10.0, room / (0.62 * longest)), SMALLEST)
    limit = max(int(room / (0.62 * size)), 4)
    return ["\n".join(_cut(line, limit) for line in name.split("\n")) for name in groups], size


def _cut(name: str, limit: int) -> str:
    return name if len(name) <= limit else name[: limit - 1] + "…"


def _group_points(axes: Axes, groups: int) -> float:
    """Return the width of a group in points, before the layout is known."""
    figure, place = axes.get_figure(), axes.get_subplotspec()
    assert isinstance(figure, Figure)
    columns = place.get_gridspec().ncols if place else 1
    return figure.get_figwidth() * 72 * 0.82 / columns / (groups + 0.2)


def _absent(axes: Axes, x: float, message: str) -> None:
    axes.annotate(
        message,
        (x, 0),
        xycoords=("data", "axes fraction"),
        xytext=(0, 6),
        textcoords="offset points",
        ha="center",
        va="bottom",
        rotation=90,
        fontsize=8.5,
        color="#6C757D",
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
    )


def _bound(bounds: pd.Series | None, group: int) -> float | None:
    if bounds is None or is_missing(bounds.iloc[group]):
        return None
    return float(bounds.iloc[group])


def _scale(axes: Axes, series: Sequence[Series]) -> None:
    """Start the axis at 0, or draw it in log scale where small bars would vanish."""
    parts = [one.values if one.high is None else one.high.fillna(one.values) for one in series]
    tops = pd.concat(parts).dropna().to_numpy(dtype=float)
    values = pd.concat([one.values for one in series]).dropna().to_numpy(dtype=float)
    if not len(values):
        axes.set_ylim(0, 1)
        axes.set_yticks([])
    elif values.min() > 0 and values.max() / values.min() > LOG_ABOVE:
        axes.set_yscale("log")
        axes.set_ylim(10 ** np.floor(np.log10(values.min()) - 0.2), tops.max() * 3)
        log_ticks(axes.yaxis)
    else:
        axes.set_ylim(min(0.0, values.min() * 1.2), max(tops.max() * 1.16, 1e-9))


def is_log(axes: Axes) -> bool:
    """Tell whether the panel's values are in log scale, which its label has to say."""
    return axes.get_yscale() == "log"


def axis_label(axes: Axes, look: Look, key: str) -> None:
    """Label the value axis, saying so if it is in log scale."""
    axes.set_ylabel(look.text(f"{key}_log" if is_log(axes) else key))
