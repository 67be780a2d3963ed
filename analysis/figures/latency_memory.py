"""`latency_memory`: time per token and memory against cache size, as in the paper's figure 10."""

from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

from analysis.drawing import captions, numbers, published
from analysis.drawing.sheet import HALO, legend, note, sheet
from analysis.drawing.style import LOOKS, Look
from analysis.errors import MissingRowsError
from analysis.rows.blocks import Blocks
from analysis.rows.comparable import QUICKSTART, Selection
from analysis.rows.missing import command, entry

SIZE = (10.0, 5.2)
MEBIBYTE = 2**20
SIDES = {
    "left": (-5, 4, "right", "bottom"),
    "right": (5, -5, "left", "top"),
}
"""Offset in points and alignment of a value beside its point."""


@dataclass(frozen=True)
class LatencyMemory:
    """The timed rows of one text: streaming with one number of sinks, and recompute."""

    selection: Selection
    dataset: str
    n_sink: int
    streaming: pd.DataFrame
    recompute: pd.DataFrame
    missing: tuple[MissingRowsError, ...]
    block_rows: tuple[str, ...] = ()

    @property
    def row_ids(self) -> list[str]:
        """The rows that are drawn."""
        return [str(one) for one in pd.concat([self.streaming["row_id"], self.recompute["row_id"]])]

    @property
    def memory_column(self) -> str:
        """`peak_memory_bytes` where it was measured, else the computed `kv_cache_bytes`."""
        peak = self.streaming["peak_memory_bytes"].notna().any()
        return "peak_memory_bytes" if peak else "kv_cache_bytes"


def select(selection: Selection) -> LatencyMemory:
    """Pick the text and number of sinks with the most timed cache sizes."""
    rows = selection.rows
    timed = rows[rows["latency_ms_mean"].notna()]
    ours = timed[timed["method"].eq("streaming")]
    if ours.empty:
        place = f"{QUICKSTART} {selection.store}"
        raise MissingRowsError("no streaming row with a latency", place)
    count = ours.groupby(["dataset", "n_sink"]).agg(
        budgets=("budget", "nunique"), pairs=("speedup", "count"), sinks=("n_sink", "max")
    )
    dataset, n_sink = count.sort_values(["budgets", "pairs", "sinks"]).index[-1]
    ours = ours[ours["dataset"].eq(dataset) & ours["n_sink"].eq(n_sink)].sort_values("budget")
    baseline = timed[timed["method"].eq("recompute") & timed["dataset"].eq(dataset)]
    baseline = baseline[baseline["recompute_stride"].eq(selection.baseline_stride)]
    return LatencyMemory(
        selection=selection,
        dataset=str(dataset),
        n_sink=int(n_sink),
        streaming=ours.drop_duplicates("budget", keep="last"),
        recompute=baseline.sort_values("budget").drop_duplicates("budget", keep="last"),
        missing=_missing(selection, ours, baseline),
    )


def draw(data: LatencyMemory, blocks: Blocks, look: Look) -> Figure:
    """Draw latency on the left, memory on the right."""
    title = look.text("latency_title", dataset=captions.dataset_name(data.dataset))
    page = sheet(look, title=title, caption=_caption(data, look), size=SIZE, panels=(1, 2))
    left, right = page.axes
    _latency(left, data, look)
    _memory(right, data, look)
    legend(page)
    return page.figure


def _latency(axes: Axes, data: LatencyMemory, look: Look) -> None:
    axes.set_title(look.text("panel_latency"))
    top = 0.0
    for kind, rows, side in (
        ("streaming", data.streaming, "right"),
        ("recompute", data.recompute, "left"),
    ):
        if not rows.empty:
            _curve(axes, rows, "latency_ms_mean", kind, look)
            whole = rows[rows["latency_ms_p90"].notna() & rows["latency_ms_p50"].notna()]
            color = look.colors[LOOKS[kind][0]]
            axes.vlines(whole["budget"], whole["latency_ms_p50"], whole["latency_ms_p90"], color)
            top = max(top, float(rows[["latency_ms_mean", "latency_ms_p90"]].max().max()))
            _values(axes, rows, "latency_ms_mean", side, color)
    if look.published:
        for curve in published.latencies(str(data.selection.setting["model"])):
            axes.plot(curve.budgets, curve.values, label=curve.label, color=curve.color(look))
            axes.get_lines()[-1].set(linestyle=":", marker="x", markersize=6, linewidth=1.2)
            top = max(top, *curve.values)
    axes.set_ylim(-0.1 * top, top * 1.15)
    axes.set_ylabel(look.text("latency"))
    _cache_axis(axes, data, look)


def _memory(axes: Axes, data: LatencyMemory, look: Look) -> None:
    column = data.memory_column
    axes.set_title(look.text(f"panel_{column}"))
    rows = data.streaming.assign(mebibytes=data.streaming[column] / MEBIBYTE)
    rows = rows[rows["mebibytes"].notna()]
    if rows.empty:
        note(axes, look.text("not_measured"))
        return
    shown = [("streaming", rows, "right")]
    if column == "peak_memory_bytes":
        base = data.recompute.assign(mebibytes=data.recompute[column] / MEBIBYTE)
        shown.append(("recompute", base[base["mebibytes"].notna()], "left"))
    for kind, part, side in shown:
        if not part.empty:
            _curve(axes, part, "mebibytes", kind, look)
            _values(axes, part, "mebibytes", side, look.colors[LOOKS[kind][0]])
    top = max(float(part["mebibytes"].max()) for _, part, _ in shown if not part.empty)
    axes.set_ylim(-0.1 * top, top * 1.15)
    axes.set_ylabel(look.text("memory"))
    _cache_axis(axes, data, look)


def _curve(axes: Axes, rows: pd.DataFrame, column: str, kind: str, look: Look) -> None:
    color, style, marker = LOOKS[kind]
    (line,) = axes.plot(rows["budget"], rows[column], color=look.colors[color])
    line.set(linestyle=style, marker=marker, markersize=6, linewidth=1.8, label=look.text(kind))
    empty = rows[rows["hollow"]]
    if not empty.empty:
        (faces,) = axes.plot(empty["budget"], empty[column], marker, color=look.colors[color])
        faces.set(markersize=7, markerfacecolor="white", zorder=4, label=look.text("hollow"))


def _values(axes: Axes, rows: pd.DataFrame, column: str, side: str, color: str) -> None:
    """Write the values beside the points, on the side where a rising curve does not pass."""
    x, y, ha, va = SIDES[side]
    for budget, value in zip(rows["budget"], rows[column], strict=True):
        place = axes.annotate(
            numbers.milliseconds(value),
            (budget, value),
            xytext=(x, y),
            textcoords="offset points",
        )
        place.set(ha=ha, va=va, path_effects=HALO)
        place.set(fontsize=min(8.5, 50 / max(len(rows), 1)), color=color)


def _cache_axis(axes: Axes, data: LatencyMemory, look: Look) -> None:
    budgets = sorted({int(value) for value in data.streaming["budget"]})
    axes.set_xscale("log", base=2)
    axes.set_xticks(budgets, [f"{value:,}" for value in budgets])
    axes.tick_params(axis="x", labelsize=min(9.5, 58 / len(budgets)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    low, high = axes.get_xlim()
    axes.set_xlim(low / 1.25, high * 1.35)
    axes.set_yticks([tick for tick in axes.get_yticks() if 0 <= tick <= axes.get_ylim()[1]])
    axes.set_xlabel(look.text("cache_size"))


def _caption(data: LatencyMemory, look: Look) -> list[str]:
    rows = data.streaming
    points = "cache " + rows["budget"].astype(int).astype(str)
    known = look.published and any(published.latencies(str(data.selection.setting["model"])))
    source = [published.citation(look)] if known else []
    return [
        *captions.setting(data.selection, look),
        look.text("latency_note", n_sink=data.n_sink),
        *([look.text("kv_note")] if data.memory_column == "kv_cache_bytes" else []),
        *captions.flags(rows, points, look),
        *source,
        *captions.left_out(data.selection, look),
    ]


def _missing(
    selection: Selection, ours: pd.DataFrame, baseline: pd.DataFrame
) -> tuple[MissingRowsError, ...]:
    lacking = ours[~ours["budget"].isin(baseline["budget"])]
    if lacking.empty:
        return ()
    budgets = sorted({int(value) for value in lacking["budget"]})
    like = lacking.to_dict("records")[-1]
    fields = {"recompute_stride": selection.baseline_stride, "measure": ["latency"]}
    wanted = entry(like, method="recompute", n_sink=0, window_size=budgets, **fields)
    what = f"no timed recompute row with budget {', '.join(map(str, budgets))}"
    return (MissingRowsError(what, command(selection, [wanted])),)
