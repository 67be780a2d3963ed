"""The two panels of an ablation, drawn from its rows."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.drawing import captions, numbers, published
from analysis.drawing.axes import log_ticks
from analysis.drawing.bars import LOG_ABOVE
from analysis.drawing.points import Axis, above, bar_label, mark, points
from analysis.drawing.sheet import legend, note, sheet
from analysis.drawing.style import Look
from analysis.figures.ablation import Ablation, other_texts
from analysis.rows.blocks import Blocks, difference
from analysis.rows.frames import is_missing
from analysis.rows.intervals import Interval

SIZE = (10.0, 8.2)
BAR_TOP = 0.36
"""Compression bars end below this height of the panel, the perplexities stay above it."""


def draw(data: Ablation, blocks: Blocks, look: Look) -> Figure:
    """Draw perplexity with compression above, runtime below."""
    fixed = look.text(f"fixed_{data.fixed}", value=f"{data.fixed_value:,}")
    key = "window_title" if data.varied == "window_size" else "sink_title"
    title = look.text(key, fixed=fixed, dataset=captions.dataset_name(data.dataset))
    page = sheet(look, title=title, caption=_caption(data, blocks, look), size=SIZE, panels=(2, 1))
    above, below = page.axes
    axis = _axis(data)
    _quality(above, data, blocks, axis, look)
    _runtime(below, data, axis, look)
    legend(page)
    return page.figure


def _axis(data: Ablation) -> Axis:
    values = [int(value) for value in data.rows[data.varied]]
    names = [f"{value:,}" for value in values]
    # A window of 0 has no logarithm; sinks are few and small, so they stand evenly.
    if data.varied == "window_size" and values[0] > 0:
        return Axis([float(value) for value in values], names, is_log=True)
    return Axis([float(position) for position in range(len(values))], names, is_log=False)


def _quality(axes: Axes, data: Ablation, blocks: Blocks, axis: Axis, look: Look) -> None:
    rows = data.rows.assign(x=axis.at)
    measured = rows[rows["perplexity"].notna()]
    axes.set_title(look.text("panel_quality"))
    if measured.empty:
        note(axes, look.text("not_measured"))
        return
    axis.place(axes, look.text(f"{data.varied}_log2" if axis.is_log else data.varied))
    known = _published(data, axis) if look.published else {}
    _perplexity_scale(axes, measured, list(known.values()), look)
    _compression(axes, rows, axis, look)
    _baseline(axes, data, measured, "baseline_perplexity", look)
    points(axes, measured, ("perplexity", "perplexity_low", "perplexity_high"), look)
    _marks(axes, data, measured, look)
    if known:
        (dots,) = axes.plot(list(known), list(known.values()), "x", color=look.colors["accent"])
        dots.set(markersize=9, markeredgewidth=2.2, zorder=5, label=look.text("paper"))
    for row in measured.to_dict("records"):
        interval = _to_best(data, row["row_id"], blocks)
        difference_lines = numbers.increase(interval).split(" [") if interval else []
        lines = [numbers.perplexity(row["perplexity"]), *difference_lines[:1]]
        lines += [f"[{bounds}" for bounds in difference_lines[1:]]
        above(axes, row["x"], lines, ["#2B2F33", "#5A636B", "#5A636B"], len(rows))


def _runtime(axes: Axes, data: Ablation, axis: Axis, look: Look) -> None:
    measured = data.rows.assign(x=axis.at)
    measured = measured[measured["runtime_ms"].notna()]
    tokens = data.selection.setting["decode_tokens"]
    key = "panel_runtime" if tokens else "panel_runtime_plain"
    axes.set_title(look.text(key, tokens=tokens))
    if measured.empty:
        note(axes, look.text("not_measured"))
        return
    axis.place(axes, look.text(f"{data.varied}_log2" if axis.is_log else data.varied))
    axes.set_ylabel(look.text("runtime"))
    _baseline(axes, data, measured, "baseline_runtime_ms", look)
    points(axes, measured, ("runtime_ms", "runtime_ms_min", "runtime_ms_max"), look)
    top = measured[["runtime_ms", "runtime_ms_max", "baseline_runtime_ms"]].max().max()
    axes.set_ylim(0, top * 1.38)
    colors = [look.colors["streaming"], look.colors["baseline"], "#2B2F33"]
    writers = {
        "runtime_ms": numbers.milliseconds,
        "baseline_runtime_ms": numbers.milliseconds,
        "speedup": numbers.times,
    }
    for row in measured.to_dict("records"):
        values = [(write, row[name]) for name, write in writers.items()]
        lines = [write(value) for write, value in values if not is_missing(value)]
        above(axes, row["x"], lines, colors, len(data.rows))


def _published(data: Ablation, axis: Axis) -> dict[float, float]:
    """Return published perplexities by position, for the same fixed setting and model."""
    model = str(data.selection.setting["model"])
    rows = published.perplexities(model, "streaming", data.dataset)
    rows = [row | {"budget": row["n_sink"] + row["window_size"]} for row in rows]
    places = dict(zip(data.rows[data.varied].astype(int), axis.at, strict=True))
    return {
        places[row[data.varied]]: row["perplexity"]
        for row in rows
        if row[data.fixed] == data.fixed_value and row[data.varied] in places
    }


def _perplexity_scale(axes: Axes, rows: pd.DataFrame, others: list[float], look: Look) -> None:
    """Leave the lower part of the panel to the compression bars and the top to the labels."""
    values = rows[["perplexity", "perplexity_low", "perplexity_high", "baseline_perplexity"]]
    every = np.append(values.to_numpy(dtype=float).ravel(), others)
    low, high = float(np.nanmin(every)), float(np.nanmax(every))
    if high / low > LOG_ABOVE / 4:
        span = np.log10(high / low)
        axes.set_yscale("log")
        axes.set_ylim(low / 10 ** (span * 1.15 + 0.08), high * 10 ** (span * 0.75 + 0.05))
        axes.set_ylabel(look.text("perplexity_log"))
        log_ticks(axes.yaxis)
    else:
        axes.set_ylim(0, high * 1.38)
        axes.set_ylabel(look.text("perplexity"))


def _compression(axes: Axes, rows: pd.DataFrame, axis: Axis, look: Look) -> None:
    """Draw the compression ratio as bars behind the points, low enough never to meet them."""
    shares = 100 * rows["compression_ratio"]
    if shares.isna().all():
        return
    second = axes.twinx()
    low, high = axes.get_ylim()
    lowest = float(np.nanmin(rows[["perplexity", "perplexity_low"]].to_numpy(dtype=float)))
    if axes.get_yscale() == "log":
        low, high, lowest = np.log10(low), np.log10(high), np.log10(lowest)
    height = min(BAR_TOP, (lowest - low) / (high - low) - 0.06)
    second.set_ylim(0, 100 / height)
    second.set_yticks([0, 50, 100])
    second.set_ylabel(look.text("compression"), y=max(height / 2, 0.22), fontsize=9)
    second.grid(visible=False)
    for position, value in zip(axis.at, shares, strict=True):
        if is_missing(value):
            continue
        left, width = axis.edges(position)
        label = look.text("compression_legend")
        color = look.colors["neutral"]
        second.bar(left, value, width, align="edge", color=color, alpha=0.25, label=label)
        bar_label(second, numbers.share(value / 100), position, len(shares))
    # The points belong in front of the bars, whose axes were made later.
    axes.set_zorder(second.get_zorder() + 1)
    axes.patch.set_visible(False)


def _baseline(axes: Axes, data: Ablation, rows: pd.DataFrame, column: str, look: Look) -> None:
    known = rows[rows[column].notna()]
    if known.empty:
        return
    axes.plot(
        known["x"],
        known[column],
        color=look.colors["baseline"],
        linestyle="--",
        linewidth=1.4,
        marker="s",
        markersize=5,
        label=_baseline_name(data, look),
    )


def _baseline_name(data: Ablation, look: Look) -> str:
    stride = data.selection.baseline_stride
    return look.text("recompute" if stride == 1 else "recompute_strided", stride=stride)


def _marks(axes: Axes, data: Ablation, rows: pd.DataFrame, look: Look) -> None:
    """Mark the lowest perplexity by a red star and n_sink = 0 by a red X."""
    if (best := data.best) is not None:
        point = rows[rows["row_id"].eq(best["row_id"])]
        left_out = bool((rows["hollow"] & (rows["perplexity"] < best["perplexity"])).any())
        mark(axes, point, "*", 17, look.text("best_filled" if left_out else "best"))
    if data.varied == "n_sink":
        mark(axes, rows[rows["n_sink"].eq(0)], "X", 12, look.text("no_sink"))


def _to_best(data: Ablation, row_id: str, blocks: Blocks) -> Interval | None:
    if data.best is None or row_id == data.best["row_id"]:
        return None
    return difference(blocks, row_id, data.best["row_id"])


def _caption(data: Ablation, blocks: Blocks, look: Look) -> list[str]:
    selection, rows = data.selection, data.rows
    values = rows[data.varied].astype(int)
    names = values.map(lambda value: look.text(f"fixed_{data.varied}", value=value))
    parts = [*captions.setting(selection, look)]
    parts += [] if selection.is_reported else [look.text("whiskers")]
    if any(_to_best(data, row_id, blocks) for row_id in rows["row_id"]):
        parts.append(look.text("best_note"))
    increases = rows["perplexity_increase"].dropna()
    if len(increases):
        low, high = (numbers.percent(v, signed=True) for v in (increases.min(), increases.max()))
        key = "recompute_note" if low != high else "recompute_note_one"
        parts.append(look.text(key, low=low, high=high))
    if rows["runtime_ms"].notna().any():
        parts += captions.runtime(selection, look)
    if rows["speedup"].notna().any():
        parts.append(look.text("strip_note"))
    parts += captions.flags(rows, names, look)
    if look.published and _published(data, _axis(data)):
        parts.append(published.citation(look))
    if data.other_datasets:
        parts.append(look.text("other_dataset", names=other_texts(data)))
    return parts + captions.left_out(selection, look)
