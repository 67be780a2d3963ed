"""`results_summary`: the numbers themselves, for each text and method.

The same lines are what `analysis table` prints.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from analysis.drawing import captions, numbers, tables
from analysis.drawing.page import fonts
from analysis.drawing.page.panels import Later, Page, Panel
from analysis.drawing.style import Look
from analysis.errors import MissingRowsError
from analysis.rows import headline
from analysis.rows.blocks import Blocks, difference, with_intervals
from analysis.rows.comparable import Selection
from analysis.rows.frames import is_missing
from analysis.rows.headline import Headline
from analysis.rows.rules import broken_rules

COLUMNS = (
    "dataset",
    "method",
    "cache",
    "perplexity",
    "runtime",
    "speedup",
    "compression",
    "increase",
    "tokens",
)
TEXTS = ("dataset", "method")
LEAST_HEIGHT = 0.9
"""Inches that every facet has, however many there are."""
ORDER = {"recompute": 0, "streaming": 1, "window": 2, "dense": 3}


@dataclass(frozen=True)
class Summary:
    """The rows that belong to one streaming configuration: it, its baselines, dense."""

    headline: Headline
    rows: pd.DataFrame

    @property
    def missing(self) -> tuple[MissingRowsError, ...]:
        """The rows that would complete the table."""
        return self.headline.missing

    @property
    def row_ids(self) -> list[str]:
        """The rows that are drawn."""
        return [str(row_id) for row_id in self.rows["row_id"]]

    @property
    def block_rows(self) -> list[str]:
        """The rows whose blocks the paired intervals need."""
        known = pd.concat([self.rows["row_id"], self.rows["quality_partner"]]).dropna()
        return [str(row_id) for row_id in known]


def select(selection: Selection) -> Summary:
    """Pick the headline configuration and what it is read against."""
    chosen = headline.select_headline(selection)
    rows, budget = selection.rows, chosen.n_sink + chosen.window_size
    sinkless = rows["method"].eq("streaming") & rows["n_sink"].eq(0)
    ours = rows["n_sink"].eq(chosen.n_sink) & rows["window_size"].eq(chosen.window_size)
    baseline = headline.baselines_of(selection, rows[ours], budget)
    windows = sinkless & rows["window_size"].isin([chosen.window_size, budget])
    wanted = baseline | (rows["method"].eq("streaming") & ours) | windows
    if selection.is_reported:  # one row of each text and method, of the file that compares them
        shown = pd.concat([chosen.streaming["row_id"], chosen.baseline["row_id"]])
        wanted = rows["row_id"].isin(shown.dropna())
    kept = rows[wanted | rows["method"].eq("dense")]
    kind = kept["method"].mask(sinkless[kept.index], "window").map(ORDER)
    return Summary(chosen, kept.assign(order=kind).sort_values(["dataset", "order", "budget"]))


def lines(data: Summary, blocks: Blocks) -> Iterator[dict[str, str]]:
    """Yield the table's lines, every value written out, a dash for what is not known."""
    for row in with_intervals(data.rows, blocks).to_dict("records"):
        perplexity = _written(row["perplexity"], numbers.perplexity_text)
        bounds = [row["perplexity_low"], row["perplexity_high"]]
        if not any(is_missing(value) for value in (row["perplexity"], *bounds)):
            low, high = map(numbers.perplexity_text, bounds)
            perplexity += f" [{low}, {high}]"
        interval = difference(blocks, row["row_id"], row["quality_partner"])
        percent = partial(numbers.percent, signed=True)
        increase = _written(row["perplexity_increase"], percent)
        yield {
            "dataset": captions.dataset_name(str(row["dataset"])),
            "method": str(row["method_label"]) + ("*" if row["hollow"] else ""),
            "cache": captions.cache_words(row),
            "perplexity": perplexity + _dagger(row, "quality"),
            "runtime": _written(row["runtime_ms"], numbers.milliseconds) + _dagger(row, "speed"),
            "speedup": _written(row["speedup"], numbers.times),
            "compression": _written(row["compression_ratio"], numbers.share),
            "increase": numbers.increase_text(interval) if interval else increase,
            "tokens": numbers.whole(row["n_tokens"]),
        }


def page(data: Summary, blocks: Blocks, look: Look) -> Page:
    """Return the table, as much of it as a page holds, with the setting in a box above it.

    Several facets have no box: the title says what they share.
    """
    heads = {name: look.text(f"col_{name}") for name in COLUMNS}
    cells = list(lines(data, blocks))
    selection = data.headline.selection
    values = {"n_sink": data.headline.n_sink, "window_size": data.headline.window_size}
    box, title = [], look.text("summary_title")
    if look.facets > 1:
        shared = [captions.held(name, value, look) for name, value in values.items()]
        title = f"{title}, {' + '.join(shared)}"
    else:
        setting = look.text(
            "box",
            model=captions.model_name(str(selection.setting["model"])),
            dtype=captions.number_format(selection, look),
            window_size=f"{values['window_size']:,}",
            n_sink=values["n_sink"],
            device=captions.device_name(selection, look),
        )
        box = fonts.wrap(setting, tables.room(look) - 0.2, look.type.value)
    fit = partial(tables.fit_table, heads, look=look, group="dataset", texts=TEXTS)
    shown, table = _on_a_page(cells, list(data.rows["order"]), fit, box, look)
    panel = Panel("", partial(_draw, table, box, look), inches=tables.height(table, box, look))
    caption = [*captions.setting(selection, look), *notes(data, blocks, look, table)]
    if table.left_out:
        names = ", ".join(heads[name] for name in table.left_out)
        caption.append(look.text("columns_left_out", names=names))
    if len(shown) < len(cells):
        caption.append(look.text("rows_left_out", shown=len(shown), count=len(cells)))
    texts = [line["dataset"] for line in cells]
    return Page(title, caption, [("", [panel])], stacked=True, names=texts)


def _on_a_page(
    cells: list[dict[str, str]],
    orders: list[int],
    fit: Callable[[list[dict[str, str]]], tables.Table],
    box: list[str],
    look: Look,
) -> tuple[list[dict[str, str]], tables.Table]:
    """Return the lines that a page holds: all, or the compared ones, or the first of ours."""
    room = max(look.type.tallest / look.facets, LEAST_HEIGHT)
    pairs = list(zip(orders, cells, strict=True))
    for kinds in (set(orders), {ORDER["recompute"], ORDER["streaming"]}, {ORDER["streaming"]}):
        shown = [line for order, line in pairs if order in kinds] or cells
        table = fit(shown)
        if tables.height(table, box, look) <= room:
            return shown, table
    while len(shown) > 1 and tables.height(table, box, look) > room:
        shown = shown[: max(1, int(len(shown) * 0.9))]
        table = fit(shown)
    return shown, table


def _draw(table: tables.Table, box: list[str], look: Look, axes: Axes, later: Later) -> None:
    tables.draw_table(axes, table, box, look)


def _dagger(row: Mapping[Hashable, Any], what: str) -> str:
    """Mark a number that the audit calls unusable."""
    return "" if is_missing(row[f"{what}_unusable"]) else " †"


def _written(value: object, write: numbers.Write) -> str:
    return numbers.MISSING if is_missing(value) else write(float(str(value)))


def notes(
    data: Summary, blocks: Blocks, look: Look, table: tables.Table | None = None
) -> list[str]:
    """Say how the table is to be read, what is hollow and what was left out.

    `table`: what of it is shown; None: all.
    """
    selection, rows = data.headline.selection, with_intervals(data.rows, blocks)
    points = rows["dataset"].map(captions.dataset_name) + " " + rows["method_label"].astype(str)
    broken = ", ".join(broken_rules(rows))
    is_marked = table is None or any("†" in one for row in table.rows for c in row for one in c)
    daggers = [look.text("unusable_note", rules=broken)] if broken and is_marked else []
    pairs = zip(rows["row_id"], rows["quality_partner"], strict=True)
    differences = [difference(blocks, row, partner) for row, partner in pairs]
    return [
        *captions.intervals(rows, look, shown_as="brackets"),
        look.text("summary_note_reported" if selection.is_reported else "summary_note"),
        *captions.undecided(zip(points, differences, strict=True), look),
        *captions.sampled_baseline(rows, "sampled_rows", look),
        *daggers,
        *(captions.runtime(selection, look) if table is None or "runtime" in table.columns else []),
        *captions.flags(rows, points, look, in_table=True),
        *captions.left_out(selection, look),
    ]
