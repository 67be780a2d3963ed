"""`attention_sinks`: where the attention goes, by layer and head, and by position.

Left: what every head pays to position 0, averaged over the texts. Right: the share of each of the
first positions and of all others, averaged over heads, as in figure 2 of the paper (Xiao et al.,
arXiv 2309.17453): evicting position 0 takes away what most heads look at.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from analysis.drawing import captions
from analysis.drawing.page.labels import Label, place_labels
from analysis.drawing.page.panels import Later, Page, Panel
from analysis.drawing.style import Look
from analysis.errors import MissingRowsError
from analysis.rows import missing
from analysis.rows.blocks import Blocks
from analysis.rows.comparable import Selection

Heads = npt.NDArray[np.float64]
"""Mean attention, [layers, heads, 9], or one slice of it."""
THRESHOLD = 0.3
"""A head that pays more than this to position 0 is a sink head (Gu et al., arXiv 2410.10781)."""
LEAST_LABELLED = 1.0
"""Percent; the labels of smaller shares would be longer than their bars are apart."""
MOST_TEXTS_SHOWN = 2
"""Data sets on the right; more bars side by side are hard to read."""
_SHADES = ("streaming", "baseline", "accent", "success")


@dataclass(frozen=True)
class AttentionSinks:
    """The latest row of each data set in which attention was measured."""

    selection: Selection
    rows: pd.DataFrame
    missing: tuple[MissingRowsError, ...] = ()
    block_rows: tuple[str, ...] = ()

    @property
    def row_ids(self) -> list[str]:
        """The rows that are drawn."""
        return [str(row_id) for row_id in self.rows["row_id"]]


def select(selection: Selection) -> AttentionSinks:
    """Keep rows with a map of the attention. Raises `MissingRowsError` if there is none."""
    rows = selection.rows
    found = rows[rows["attention_layers"].notna()].sort_values("finished_at")
    if found.empty:
        like = rows.iloc[0].to_dict()
        entry = missing.entry(like, method="dense", measure=["attention"])
        raise MissingRowsError(
            "no row in which attention was measured", missing.command(selection, [entry])
        )
    latest = found.drop_duplicates("dataset", keep="last").sort_values("dataset")
    return AttentionSinks(selection, latest.head(MOST_TEXTS_SHOWN))


def heads_of(row: pd.Series) -> Heads:
    """Return the mean over the texts of a row: [layers, heads, 9], the last for the rest."""
    shape = (int(row["attention_texts"]), int(row["attention_layers"]), int(row["attention_heads"]))
    values = np.asarray(row["attention_mean"], dtype=np.float64)
    heads: Heads = values.reshape(*shape, -1).mean(axis=0)
    return heads


def page(data: AttentionSinks, blocks: Blocks, look: Look) -> Page:
    """Return the heat map of the first data set, and the shares of all."""
    maps = {str(row["dataset"]): heads_of(row) for _, row in data.rows.iterrows()}
    first = next(iter(maps))
    title = look.text("attention_title", dataset=captions.dataset_name(first))
    panels = [
        Panel(look.text("attention_first"), partial(_heat_map, maps[first][..., 0], look), 1.3),
        Panel(look.text("attention_shares"), partial(_shares, maps, look), 1.3),
    ]
    sentences = []
    for dataset, heads in maps.items():
        row = data.rows[data.rows["dataset"].eq(dataset)].iloc[0]
        values = {
            "dataset": captions.dataset_name(dataset),
            "share": f"{100 * float((heads[..., 0] > THRESHOLD).mean()):.0f} %",
            "threshold": f"{100 * THRESHOLD:.0f} %",
            "texts": int(row["attention_texts"]),
            "tokens": int(row["attention_tokens"]),
        }
        sentences.append(look.text("attention_note", **values))
    setting, others = (
        captions.setting(data.selection, look),
        captions.left_out(data.selection, look),
    )
    caption = [*setting, look.text("attention_how"), *sentences, *others]
    return Page(title, caption, [("", panels)], columns=2)


def _heat_map(first: Heads, look: Look, axes: Axes, later: Later) -> None:
    image = axes.imshow(first, cmap="magma", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    axes.grid(visible=False)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.set(xlabel=look.text("attention_head"), ylabel=look.text("attention_layer"))
    scale = axes.inset_axes((1.03, 0.0, 0.04, 1.0))
    axes.figure.colorbar(image, cax=scale)
    scale.tick_params(labelsize=look.type.tick)


def _shares(maps: dict[str, Heads], look: Look, axes: Axes, later: Later) -> None:
    n_positions = next(iter(maps.values())).shape[-1]
    width, labels = 0.8 / len(maps), []
    for number, (dataset, heads) in enumerate(maps.items()):
        shares = heads.mean(axis=(0, 1)) * 100
        places = np.arange(n_positions) + (number - (len(maps) - 1) / 2) * width
        color = look.colors[_SHADES[number]]
        name = look.prefix + captions.dataset_name(dataset)
        axes.bar(places, shares, width, color=color, label=name)
        labels += [
            Label(place, share, f"{share:.1f}", look.ground.quiet)
            for place, share in zip(places, shares, strict=True)
            if share >= LEAST_LABELLED
        ]
    names = [str(position) for position in range(n_positions - 1)]
    axes.set_xticks(range(n_positions), [*names, look.text("attention_rest")])
    axes.set_xlabel(look.text("attention_position"))
    axes.set_ylabel(look.text("attention_share"))
    axes.margins(y=0.15)
    later.labels.append(lambda: place_labels(axes, labels, look))
