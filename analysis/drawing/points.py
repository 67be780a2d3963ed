"""The parts an ablation's panels are drawn from: the axis, points, marks and labels."""

from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter, NullLocator

from analysis.drawing.sheet import HALO
from analysis.drawing.style import RED, Look


@dataclass(frozen=True)
class Axis:
    """Where the points stand: at their value in log2 scale, or evenly spaced."""

    at: list[float]
    names: list[str]
    is_log: bool

    def place(self, axes: Axes, label: str) -> None:
        """Scale and label the horizontal axis."""
        if self.is_log:
            axes.set_xscale("log", base=2)
            axes.set_xlim(self.at[0] / 2**0.6, self.at[-1] * 2**0.6)
        else:
            axes.set_xlim(-0.6, len(self.at) - 0.4)
        axes.set_xticks(self.at, self.names)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(label)
        axes.grid(visible=False, axis="x")

    def edges(self, position: float) -> tuple[float, float]:
        """Return left edge and width of a bar around a point."""
        if not self.is_log:
            return position - 0.3, 0.6
        return position / 2**0.3, position * (2**0.3 - 2**-0.3)


def points(axes: Axes, rows: pd.DataFrame, columns: tuple[str, str, str], look: Look) -> None:
    """Draw the streaming points with whiskers; hollow where they say nothing of streaming."""
    value, low, high = columns
    color = look.colors["streaming"]
    axes.plot(rows["x"], rows[value], color=color, linewidth=1.8, zorder=3)
    whole = rows[rows[low].notna() & rows[high].notna()]
    axes.vlines(whole["x"], whole[low], whole[high], color=color, linewidth=1.3, zorder=3)
    for key, part in (("streaming", rows[~rows["hollow"]]), ("hollow", rows[rows["hollow"]])):
        if part.empty:
            continue
        (dots,) = axes.plot(part["x"], part[value], "o", color=color, label=look.text(key))
        dots.set(markersize=8, markeredgewidth=1.8, zorder=4)
        dots.set_markerfacecolor(color if key == "streaming" else "white")


def mark(axes: Axes, point: pd.DataFrame, marker: str, size: float, label: str) -> None:
    """Put a red mark on a point, if there is one."""
    if point.empty:
        return
    (dot,) = axes.plot(point["x"], point["perplexity"], marker, color=RED, label=label)
    dot.set(markersize=size, markeredgecolor="white", zorder=5)


def above(axes: Axes, x: float, lines: list[str], colors: list[str], points: int) -> None:
    """Write the values of a point at the top of the panel, where no line can cross them."""
    size = _font_size(points)
    for number, (line, color) in enumerate(zip(lines, colors, strict=False)):
        axes.annotate(
            line,
            (x, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, -4 - number * size * 1.3),
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=size,
            color=color,
            path_effects=HALO,
            zorder=6,
        )


def bar_label(axes: Axes, text: str, x: float, points: int) -> None:
    """Write a value into the foot of a bar."""
    axes.annotate(
        text,
        (x, 0),
        xytext=(0, 3),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=_font_size(points),
        color="#404950",
        path_effects=HALO,
    )


def _font_size(points: int) -> float:
    """Return the label size at which this many labels fit side by side."""
    return min(9.0, 68 / points)
