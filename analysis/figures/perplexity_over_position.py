"""`perplexity_over_position`: how each method fares along the text, from the stored blocks."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.drawing import captions
from analysis.drawing.axes import linear_ticks, log_ticks, thin
from analysis.drawing.page.panels import Later, Page, Panel, note
from analysis.drawing.style import LOOKS, Look
from analysis.errors import MissingRowsError
from analysis.rows import headline
from analysis.rows.blocks import Blocks, RowBlocks
from analysis.rows.comparable import QUICKSTART, Selection
from analysis.rows.intervals import Reals

MAX_POINTS = 48
POINTS_PER_INCH = 5
WIDTHS = (4.0, 2.2, 1.2, 1.6)
SIZES = (9.0, 6.0, 3.5, 5.0)
"""Of the lines and markers of `LOOKS`, in that order."""


@dataclass(frozen=True)
class Position:
    """One row per method on one text, all at the budget of the streaming row."""

    selection: Selection
    dataset: str
    rows: pd.DataFrame
    """With a column `kind`: a key of `LOOKS`."""
    budget: int
    missing: tuple[MissingRowsError, ...] = ()

    @property
    def row_ids(self) -> list[str]:
        """The rows that are drawn."""
        return [str(row_id) for row_id in self.rows["row_id"]]

    @property
    def block_rows(self) -> list[str]:
        """The rows whose blocks are drawn."""
        return [str(row_id) for row_id in self.rows["row_id"]]


def select(selection: Selection) -> Position:
    """Pick the text with the most methods at the headline configuration, the longest one."""
    chosen = headline.select_headline(selection)
    rows = selection.rows
    rows = rows[rows["perplexity"].notna() & rows["block_size"].notna()]
    budget = chosen.n_sink + chosen.window_size
    sinkless = rows["method"].eq("streaming") & rows["n_sink"].eq(0)
    rows = rows.assign(kind=rows["method"].mask(sinkless, "window"))
    ours = rows["n_sink"].eq(chosen.n_sink) & rows["window_size"].eq(chosen.window_size)
    windows = rows["kind"].eq("window") & rows["window_size"].isin([chosen.window_size, budget])
    baseline = rows["kind"].eq("recompute") & rows["budget"].eq(budget)
    baseline &= rows["recompute_stride"].eq(selection.baseline_stride)
    others = windows | baseline | rows["kind"].eq("dense")
    kept = rows[(rows["method"].eq("streaming") & ours) | others]
    kept = kept.sort_values(["budget", "recompute_blocks"], na_position="first")
    kept = kept.drop_duplicates(["dataset", "kind"])
    if kept.empty:
        place = f"{QUICKSTART} {selection.store}"
        raise MissingRowsError("no perplexity was measured with its block sums", place)
    size = kept.groupby("dataset").agg(kinds=("kind", "nunique"), tokens=("n_tokens", "max"))
    size["preferred"] = size.index == (selection.text or "")
    dataset = str(size.sort_values(["preferred", "kinds", "tokens"]).index[-1])
    drawn = kept[kept["dataset"].eq(dataset)]
    order = drawn["kind"].map({kind: number for number, kind in enumerate(LOOKS)})
    return Position(selection, dataset, drawn.loc[order.sort_values().index], budget)


def page(data: Position, blocks: Blocks, look: Look) -> Page:
    """Return perplexity over position in log scale, with the place where eviction begins."""
    title = look.text("position_title", dataset=captions.dataset_name(data.dataset))
    panels = [Panel("", partial(_draw, data, blocks, look), 1.5)]
    documents = int(data.rows["n_documents"].fillna(1).max())
    key = "position_note" if documents == 1 else "position_note_many"
    caption = [
        *captions.setting(data.selection, look),
        look.text("position_budget", budget=f"{data.budget:,}"),
        look.text(key, documents=documents),
        *captions.left_out(data.selection, look),
    ]
    return Page(title, caption, [("", panels)])


def _draw(data: Position, blocks: Blocks, look: Look, axes: Axes, later: Later) -> None:
    for row in data.rows.to_dict("records"):
        if (found := blocks.get(row["row_id"])) is not None:
            _line(axes, found, str(row["kind"]), look)
    if not axes.get_lines():
        note(axes, look.text("no_blocks"), look)
        return
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    log_ticks(axes.yaxis)
    axes.set_xlabel(look.text("position"))
    axes.set_ylabel(look.text("perplexity_log"))
    axes.set_xlim(left=0)
    linear_ticks(axes.xaxis, 5)
    later.names.append(lambda: thin(axes, look))
    # Where the streaming methods first evict, and where the trained positions end.
    end = axes.get_xlim()[1]
    marks = [(float(data.budget + 1), "-", look.text("eviction", position=f"{data.budget + 1:,}"))]
    trained = data.rows["trained_positions"].max()
    if trained == trained and trained < end:  # not NaN
        marks.append((float(trained), ":", look.text("trained", position=f"{int(trained):,}")))
    for position, style, label in marks:
        if position < end:
            axes.axvline(
                position, color=look.ground.ink, linewidth=0.9, linestyle=style, label=label
            )


def over_position(found: RowBlocks, *, points: int = MAX_POINTS) -> tuple[Reals, Reals]:
    """Return (mean position, perplexity) of at most this many stretches of equal length.

    Documents are put on top of each other: a stretch holds the same positions of all of them.
    """
    length = int(found.index.max()) + 1
    merged = -(-length // points)
    stretch = (found.index // merged).astype(int)
    nll = np.bincount(stretch, found.nll)
    tokens = np.bincount(stretch, found.tokens)
    middle = np.bincount(stretch, (found.index * found.size + found.tokens / 2) * found.tokens)
    with np.errstate(over="ignore"):  # infinite where no float is as large
        return middle / tokens, np.exp(nll / tokens)


def _line(axes: Axes, found: RowBlocks, kind: str, look: Look) -> None:
    color, style, marker = LOOKS[kind]
    position, perplexity = over_position(
        found, points=min(MAX_POINTS, int(POINTS_PER_INCH * look.inches))
    )
    perplexity = np.where(np.isfinite(perplexity), perplexity, np.nan)
    (line,) = axes.plot(position, perplexity, color=look.colors[color], label=look.name(kind))
    # Where methods agree their curves coincide: later ones are thinner, so none is hidden.
    depth, scale = list(LOOKS).index(kind), look.type.line / 1.8
    line.set(linestyle=style, linewidth=WIDTHS[depth] * scale)
    line.set(marker=marker, markersize=SIZES[depth] * scale)
