"""`latency_memory`: time per token and memory against cache size, as in the paper's figure 10."""

from dataclasses import dataclass
from functools import partial

import pandas as pd
from matplotlib.axes import Axes

from analysis.drawing import captions, numbers
from analysis.drawing.axes import Steps, linear_ticks, log_ticks, thin
from analysis.drawing.page.labels import Label, place_labels
from analysis.drawing.page.panels import Later, Page, Panel, note
from analysis.drawing.style import LOOKS, Look
from analysis.errors import MissingRowsError
from analysis.rows import published
from analysis.rows.blocks import Blocks
from analysis.rows.comparable import QUICKSTART, Selection
from analysis.rows.missing import command, entry

MEBIBYTE = 2**20
FLATTENED = 4.0
"""Published values this many times above ours would press our curves onto the axis."""


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
    count["preferred"] = count.index.get_level_values("dataset") == (selection.text or "")
    dataset, n_sink = count.sort_values(["preferred", "budgets", "pairs", "sinks"]).index[-1]
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


def page(data: LatencyMemory, blocks: Blocks, look: Look) -> Page:
    """Return latency and memory, side by side where the width allows it."""
    title = look.text("latency_title", dataset=captions.dataset_name(data.dataset))
    budgets = sorted({int(value) for value in data.streaming["budget"]})
    steps = Steps(tuple(budgets), look.text("cache_size"))
    panels = [
        Panel(look.text("panel_latency"), partial(_latency, data, steps, look)),
        Panel(look.text(f"panel_{data.memory_column}"), partial(_memory, data, steps, look)),
    ]
    known = look.published and published.latencies(str(data.selection.setting["model"]))
    points = look.text("cache_word") + data.streaming["budget"].astype(int).astype(str)
    caption = [
        *captions.setting(data.selection, look),
        look.text("latency_note", sinks=captions.held("n_sink", data.n_sink, look)),
        *([look.text("kv_note")] if data.memory_column == "kv_cache_bytes" else []),
        *captions.flags(data.streaming, points, look),
        *([captions.citation(look)] if known else []),
        *captions.left_out(data.selection, look),
    ]
    return Page(title, caption, [("", panels)], columns=2)


def _latency(data: LatencyMemory, steps: Steps, look: Look, axes: Axes, later: Later) -> None:
    steps.place(axes)
    labels, top = [], 0.0
    for kind, rows in (("streaming", data.streaming), ("recompute", data.recompute)):
        if rows.empty:
            continue
        rows = rows.assign(x=[steps.at(budget) for budget in rows["budget"]])
        labels += _curve(axes, rows, "latency_ms_mean", kind, look)
        whole = rows[rows["latency_ms_p90"].notna() & rows["latency_ms_p50"].notna()]
        color = look.colors[LOOKS[kind][0]]
        axes.vlines(whole["x"], whole["latency_ms_p50"], whole["latency_ms_p90"], color)
        top = max(top, float(rows[["latency_ms_mean", "latency_ms_p90"]].max().max()))
    name = look.text("latency")
    if look.published:
        known = _published(axes, data, steps, look)
        if known and max(known) > FLATTENED * top:
            # Another machine's numbers beside ours: in log scale neither is a flat line.
            axes.set_yscale("log")
            every = [*known, *(label.y for label in labels)]
            axes.set_ylim(min(every) / 1.5, max(every) * 2.2)
            log_ticks(axes.yaxis)
            name = look.text("latency_log")
        top = max(top, *known) if known else top
    if axes.get_yscale() == "linear":
        axes.set_ylim(0, top * 1.2)
        linear_ticks(axes.yaxis)
    axes.set_ylabel(name)
    _ending(axes, labels, later, look)


def _published(axes: Axes, data: LatencyMemory, steps: Steps, look: Look) -> list[float]:
    """Draw the published curves inside the range of the axis; return what was drawn."""
    drawn: list[float] = []
    for curve in published.latencies(str(data.selection.setting["model"])):
        points = [(steps.at(b), v) for b, v in zip(curve.budgets, curve.values, strict=True)]
        low, high = axes.get_xlim()
        points = [(x, value) for x, value in points if low - 1.1 <= x <= high + 1.1]
        if points:
            axes.set_xlim(min(low, points[0][0] - 0.2), max(high, points[-1][0] + 0.2))
            color = look.colors[curve.role]
            (line,) = axes.plot(*zip(*points, strict=True), ":x", color=color, label=curve.label)
            line.set(linewidth=look.type.line * 0.7)
            drawn += [value for _, value in points]
    return drawn


def _memory(data: LatencyMemory, steps: Steps, look: Look, axes: Axes, later: Later) -> None:
    column = data.memory_column
    shown = [("streaming", data.streaming)]
    if column == "peak_memory_bytes":
        shown.append(("recompute", data.recompute))
    labels: list[Label] = []
    for kind, rows in shown:
        rows = rows.assign(mebibytes=rows[column] / MEBIBYTE)
        rows = rows[rows["mebibytes"].notna()]
        if not rows.empty:
            rows = rows.assign(x=[steps.at(budget) for budget in rows["budget"]])
            labels += _curve(axes, rows, "mebibytes", kind, look)
    if not labels:
        note(axes, look.text("not_measured"), look)
        return
    steps.place(axes)
    axes.set_ylim(0, max(label.y for label in labels) * 1.2 or 1)
    linear_ticks(axes.yaxis)
    axes.set_ylabel(look.text("memory"))
    _ending(axes, labels, later, look)


def _curve(axes: Axes, rows: pd.DataFrame, column: str, kind: str, look: Look) -> list[Label]:
    """Draw one curve; return the labels of its points."""
    role, style, marker = LOOKS[kind]
    color = look.colors[role]
    (line,) = axes.plot(rows["x"], rows[column], style, color=color, label=look.name(kind))
    line.set(marker=marker, markersize=look.type.marker, linewidth=look.type.line)
    empty = rows[captions.hollow(rows, "speed")]
    if not empty.empty:
        (faces,) = axes.plot(empty["x"], empty[column], marker, color=color)
        faces.set(markerfacecolor=look.ground.panel, zorder=4, label=look.name("hollow"))
        faces.set_markersize(look.type.marker)
    points = zip(rows["x"], rows[column], strict=True)
    return [Label(x, value, numbers.milliseconds(value), color) for x, value in points]


def _ending(axes: Axes, labels: list[Label], later: Later, look: Look) -> None:
    later.names.append(lambda: thin(axes, look))
    # The largest caches first: where there is no room for all, these say the most.
    later.labels.append(lambda: place_labels(axes, labels[::-1], look))


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
