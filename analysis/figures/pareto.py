"""`pareto`: perplexity against time per token, for everything measured on one text."""

from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.drawing import captions
from analysis.drawing.axes import log_ticks, place_labels
from analysis.drawing.sheet import legend, sheet
from analysis.drawing.style import LOOKS, Look
from analysis.errors import MissingRowsError
from analysis.rows.blocks import Blocks
from analysis.rows.comparable import QUICKSTART, Selection

SIZE = (10.0, 6.0)


@dataclass(frozen=True)
class Pareto:
    """Rows of one text that have both a perplexity and a latency."""

    selection: Selection
    dataset: str
    rows: pd.DataFrame
    """With `kind` (a key of `style.LOOKS`) and `cache` (how the point is labelled)."""
    missing: tuple[MissingRowsError, ...] = ()
    block_rows: tuple[str, ...] = ()

    @property
    def row_ids(self) -> list[str]:
        """The rows that are drawn."""
        return [str(row_id) for row_id in self.rows["row_id"]]


def select(selection: Selection) -> Pareto:
    """Pick the text with the most rows that have both."""
    rows = selection.rows
    rows = rows[rows["perplexity"].notna() & rows["latency_ms_mean"].notna()]
    if len(rows) < 2:
        place = f"{QUICKSTART} {selection.store}"
        raise MissingRowsError("fewer than two rows with both perplexity and latency", place)
    dataset = str(rows["dataset"].value_counts().sort_index().idxmax())
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


def draw(data: Pareto, blocks: Blocks, look: Look) -> Figure:
    """Draw one point per row; the line joins those that nothing beats in both."""
    title = look.text("pareto_title", dataset=captions.dataset_name(data.dataset))
    page = sheet(look, title=title, caption=_caption(data, look), size=SIZE)
    (axes,) = page.axes
    best = frontier(data.rows)
    axes.step(
        best["latency_ms_mean"],
        best["perplexity"],
        where="post",
        color=look.colors["success"],
        linewidth=1.3,
        label=look.text("frontier"),
    )
    for kind in LOOKS:
        _points(axes, data.rows[data.rows["kind"].eq(kind)], kind, look)
    _scales(axes, data.rows, look)
    legend(page)
    rows = data.rows.to_dict("records")
    points = [(float(row["latency_ms_mean"]), float(row["perplexity"])) for row in rows]
    place_labels(axes, points, [_cache(row) for row in rows])
    return page.figure


def _points(axes: Axes, rows: pd.DataFrame, kind: str, look: Look) -> None:
    if rows.empty:
        return
    color = look.colors[LOOKS[kind][0]]
    whole = rows[rows["perplexity_low"].notna() & rows["perplexity_high"].notna()]
    axes.vlines(
        whole["latency_ms_mean"],
        whole["perplexity_low"],
        whole["perplexity_high"],
        color,
        alpha=0.5,
    )
    for is_hollow, part in rows.groupby("hollow"):
        key = "hollow" if is_hollow else kind
        (points,) = axes.plot(part["latency_ms_mean"], part["perplexity"], label=look.text(key))
        points.set(linestyle="none", marker=LOOKS[kind][2], markersize=8, color=color, zorder=4)
        points.set_markerfacecolor("white" if is_hollow else color)


def _scales(axes: Axes, rows: pd.DataFrame, look: Look) -> None:
    values, times = rows["perplexity"], rows["latency_ms_mean"]
    if values.max() / values.min() > 5:
        axes.set_yscale("log")
        log_ticks(axes.yaxis)
        axes.set_ylabel(look.text("perplexity_log"))
    else:
        axes.set_ylabel(look.text("perplexity"))
    if times.max() / times.min() > 5:
        axes.set_xscale("log")
        log_ticks(axes.xaxis)
        axes.set_xlabel(look.text("latency_log"))
    else:
        axes.set_xlim(0, times.max() * 1.1)
        axes.set_xlabel(look.text("latency"))


def _cache(row: dict[object, object]) -> str:
    if row["method"] == "streaming":
        return f"{int(float(str(row['n_sink'])))}+{int(float(str(row['window_size'])))}"
    return "" if row["method"] == "dense" else f"{int(float(str(row['budget'])))}"


def _caption(data: Pareto, look: Look) -> list[str]:
    streaming = data.rows[data.rows["method"].eq("streaming")]
    points = streaming["n_sink"].astype(int).astype(str)
    points = points + "+" + streaming["window_size"].astype(int).astype(str)
    return [
        *captions.setting(data.selection, look),
        look.text("pareto_note"),
        look.text("whiskers"),
        *captions.flags(streaming, points, look),
        *captions.left_out(data.selection, look),
    ]
