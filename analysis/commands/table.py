"""`analysis table`: the results of a store on the terminal, in a paper, in another program."""

import textwrap
from typing import TYPE_CHECKING, Any

import click

from analysis.commands.options import (
    format_option,
    open_store,
    read_frame,
    row_options,
    strict_option,
    warn,
)
from analysis.names import TABLE_FORMATS
from orchestrator.reports.tables import terminal_width

if TYPE_CHECKING:
    import pandas as pd

    from analysis.figures.results_summary import Summary
    from analysis.rows.blocks import Blocks
    from analysis.rows.comparable import Selection

ORDER = ["source", "model", "dtype", "dataset", "method", "n_sink", "budget", "device_name"]
"""Of the rows where every result is listed."""


@click.command()
@row_options
@strict_option
@format_option(TABLE_FORMATS, "table is")
@click.option("--all", "everything", is_flag=True, help="Every result, not one configuration.")
@click.option(
    "--columns",
    metavar="NAMES",
    help="Columns, separated by commas: model, dtype, device, source, dataset, method, cache, "
    "perplexity, runtime, latency, speedup, compression, increase, memory, tokens, or any "
    "column of the store.",
)
def table(form: str, everything: bool, columns: str | None, **options: Any) -> None:
    """Print perplexity, runtime, speedup and compression for each text and method.

    One configuration of each model, number format and device; `--all` for every result. `latex` is
    a booktabs table with the units in its head, every interval, and a perplexity in bold where it
    is distinguishable from the others of its text. `csv` and `json` hold numbers: value, low and
    high in columns of their own, units in their names.
    """
    from analysis.outputs import columns as shown
    from analysis.outputs import table as rendering
    from analysis.rows import blocks
    from analysis.rows.comparable import each, on_device

    store = open_store(options["uri"])
    read = read_frame(store, options, everything=bool(columns), partners=not everything)
    frame = on_device(read, options["device"])
    groups = each(frame, store=store.uri, stride=options["stride"])
    if not everything:
        found, rows = _summaries(groups)
    else:
        found, rows = [], frame.sort_values(ORDER, kind="stable", ignore_index=True)
    sums = blocks.read(store, shown.block_rows(rows))
    rows = shown.prepared(rows, sums)
    names = [name.strip() for name in (columns or "").split(",") if name.strip()]
    click.echo(rendering.render_table(rows, shown.chosen(names, rows), sums, form))
    if form == "text":
        _explain(found, sums)
    for one in found:
        for missing in one.missing:
            warn(missing)


def _summaries(groups: "list[Selection]") -> "tuple[list[Summary], pd.DataFrame]":
    """Summarise each group and join the rows; one without a streaming row is named, left out."""
    import pandas as pd

    from analysis.errors import MissingRowsError
    from analysis.figures import results_summary

    found, lacking = [], []
    for group in groups:
        try:
            found.append(results_summary.select(group))
        except MissingRowsError as error:
            lacking.append((group, error))
    if not found:
        raise lacking[0][1]
    for group, why in lacking:
        place = f"{group.setting['model']} on {group.setting['device_name'] or 'an unknown device'}"
        warn(f"{place} is left out (--all shows it): {why.what}")
    return found, pd.concat([one.rows for one in found], ignore_index=True)


def _explain(found: "list[Summary]", sums: "Blocks") -> None:
    """Say below the table what was compared with what, once for each group."""
    from analysis.drawing import captions
    from analysis.drawing.style import Look
    from analysis.figures import results_summary

    look = Look()
    settings = [" ".join(captions.setting(one.headline.selection, look)) for one in found]
    notes = [" ".join(results_summary.notes(one, sums, look)) for one in found]
    for paragraph in dict.fromkeys([*settings, *notes]):
        room = terminal_width()
        text = textwrap.fill(paragraph, room) if room else paragraph
        click.echo(("\n" if paragraph == settings[0] else "") + text)
