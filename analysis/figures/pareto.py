"""`pareto`: perplexity against time per token, for everything measured on one text."""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.drawing import captions
from analysis.drawing.axes import linear_ticks, log_ticks, thin
from analysis.drawing.page.labels import Label, place_labels
from analysis.drawing.page.panels import Later, Page, Panel
from analysis.drawing.points import at_edge
from analysis.drawing.style import LOOKS, Look
from analysis.errors import MissingRowsError
from analysis.rows.blocks import Blocks, with_intervals
from analysis.rows.comparable import QUICKSTART, Selection

LOG_ABOVE = 5.0


@dataclass(frozen=True)
class Pareto:
    """Rows of one text that have both a perplexity and a latency."""

    selection: Selection
    dataset: str
    rows: pd.DataFrame
    """With `kind` (a key of `style.LOOKS`) and `cache` (how the point is labelled)."""
    missing: tuple[MissingRowsError, ...] = ()

    @property
    def block_rows(self) -> list[str]:
        """The rows whose blocks the intervals need."""
        return [str(row_id) for row_id in self.rows["row_id"]]

    @property
    def row_ids(self) -> list[str]:
        """The rows that are drawn."""
        return [str(row_id) for row_id in self.rows["row_id"]]


def select(selection: Selection) -> Pareto:
    """Pick the text with the most rows that have both."""
    rows = selection.rows
    rows = rows[rows["perplexity"].notna() & rows["latency_ms_mean"].notna()]
    rows = rows[rows["recompute_blocks"].isna()]  # the perplexity of other tokens
    if len(rows) < 2:
        place = f"{QUICKSTART} {selection.store}"
        raise MissingRowsError("fewer than two rows with both perplexity and latency", place)
    count = rows["dataset"].value_counts().sort_index()
    text = selection.text
    dataset = text if text is not None and count.get(text, 0) > 1 else str(count.idxmax())
    rows = rows[rows["dataset"].eq(dataset)]
    sinkless = rows["method"].eq("streaming") & rows["n_sink"].eq(0)
    return Pareto(selection, dataset, rows.assign(kind=rows["method"].mask(sinkless, "window")))


def frontier(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that no other row beats in both perplexity and latency, fastest first.

    Numbers that the audit calls unusable beat nothing and are on no line.
    """
    usable = rows["quality_unusable"].isna() & rows["speed_unusable"].isna()
    order = rows[usable].sort_values(["latency_ms_mean", "perplexity"])
    best = order["perplexity"].cummin()
    return order[order["perplexity"].eq(best) & ~best.duplicated()]


def page(data: Pareto, blocks: Blocks, look: Look) -> Page:
    """Return one point per row; the line joins those that nothing beats in both."""
    data = replace(data, rows=with_intervals(data.rows, blocks))
    title = look.text("pareto_title", dataset=captions.dataset_name(data.dataset))
    panels = [Panel("", partial(_draw, data, look), 1.7)]
    every = data.selection.rows
    sampled = every["dataset"].eq(data.dataset) & every["recompute_blocks"].notna()
    streaming = data.rows[data.rows["method"].eq("streaming")]
    points = streaming["n_sink"].astype(int).astype(str)
    points = points + "+" + streaming["window_size"].astype(int).astype(str)
    labels = look.text("pareto_labels")
    caption = [
        *captions.setting(data.selection, look),
        labels,
        *([] if frontier(data.rows).empty else [look.text("pareto_line")]),
        *([look.text("sampled_left_out")] if sampled.any() else []),
        *captions.intervals(data.rows, look),
        *captions.flags(streaming, points, look),
        *captions.left_out(data.selection, look),
    ]
    return Page(title, caption, [("", panels)], provided=[labels])


def _draw(data: Pareto, look: Look, axes: Axes, later: Later) -> None:
    best = frontier(data.rows)
    if not best.empty:
        (line,) = axes.step(best["latency_ms_mean"], best["perplexity"], where="post")
        line.set(color=look.colors["success"], linewidth=look.type.line * 0.8)
        line.set_label(look.name("frontier"))
    for kind in LOOKS:
        _points(axes, data.rows[data.rows["kind"].eq(kind)], kind, look)
    _scales(axes, data.rows, look)
    # The best first: where there is no room for all, these are the ones that are looked for.
    rest = data.rows[~data.rows["row_id"].isin(best["row_id"])]
    labels = [
        Label(row["latency_ms_mean"], row["perplexity"], _cache(row), look.ground.quiet)
        for row in pd.concat([best, rest]).to_dict("records")
        if _cache(row) and np.isfinite(row["perplexity"])
    ]
    later.names.append(lambda: thin(axes, look))

    def write() -> None:
        if place_labels(axes, labels, look, leaders=True):
            later.shown.add(look.text("pareto_labels"))

    later.labels.append(write)


def _points(axes: Axes, rows: pd.DataFrame, kind: str, look: Look) -> None:
    if rows.empty:
        return
    role, _, marker = LOOKS[kind]
    color = look.colors[role]
    finite = rows[np.isfinite(rows["perplexity"].astype(float))]
    whole = finite[finite["perplexity_low"].notna() & finite["perplexity_high"].notna()]
    x, low, high = (whole[n] for n in ("latency_ms_mean", "perplexity_low", "perplexity_high"))
    axes.vlines(x, low, high, color, alpha=0.45, linewidth=1.0)
    hollow = captions.hollow(finite, "quality") | captions.hollow(finite, "speed")
    for is_hollow in (False, True):
        part = finite[hollow.eq(is_hollow)]
        if is_hollow and part.empty:
            continue  # filled ones have their entry in the legend even so
        key = "hollow" if is_hollow else kind
        (points,) = axes.plot(part["latency_ms_mean"], part["perplexity"], label=look.name(key))
        points.set(linestyle="none", marker=marker, color=color, zorder=4)
        points.set_markersize(look.type.marker)
        points.set_markerfacecolor(look.ground.panel if is_hollow else color)
    at_edge(axes, rows[~rows.index.isin(finite.index)]["latency_ms_mean"], color, look)


def _scales(axes: Axes, rows: pd.DataFrame, look: Look) -> None:
    """Span the perplexities with their whiskers; times start at 0 unless they span decades."""
    bounds = rows[["perplexity", "perplexity_low", "perplexity_high"]].to_numpy(dtype=float)
    bounds = bounds[np.isfinite(bounds) & (bounds > 0)]
    low, high = (float(bounds.min()), float(bounds.max())) if len(bounds) else (1.0, 2.0)
    is_log = high / low > LOG_ABOVE
    if is_log:
        margin = 10 ** (0.08 * np.log10(high / low))
        axes.set_yscale("log")
        axes.set_ylim(low / margin, high * margin)
        log_ticks(axes.yaxis)
    else:
        margin = 0.1 * max(high - low, 0.02 * high)
        axes.set_ylim(low - margin, high + margin)
        linear_ticks(axes.yaxis)
    axes.set_ylabel(look.text("perplexity_log" if is_log else "perplexity"))
    times = rows["latency_ms_mean"]
    is_log = 0 < times.min() * LOG_ABOVE < times.max()
    if is_log:
        axes.set_xscale("log")
        axes.set_xlim(times.min() / 1.3, times.max() * 1.4)
        log_ticks(axes.xaxis)
    else:
        axes.set_xlim(0, times.max() * 1.12 or 1)
        linear_ticks(axes.xaxis)
    axes.set_xlabel(look.text("latency_log" if is_log else "latency"))


def _cache(row: dict[object, object]) -> str:
    if row["method"] == "streaming":
        return f"{int(float(str(row['n_sink'])))}+{int(float(str(row['window_size'])))}"
    return "" if row["method"] == "dense" else f"{int(float(str(row['budget'])))}"
