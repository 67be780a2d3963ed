"""`analysis table`: the summary of a store on the terminal."""

from typing import Any

import click

from analysis.commands.options import (
    format_option,
    open_store,
    read_selection,
    row_options,
    strict_option,
    warn,
)
from analysis.names import TABLE_FORMATS


@click.command()
@row_options
@strict_option
@format_option(TABLE_FORMATS, "table is")
def table(form: str, **options: Any) -> None:
    """Print perplexity, runtime, speedup and compression for each text and method."""
    from analysis.drawing import captions
    from analysis.drawing.style import Look
    from analysis.figures import results_summary
    from analysis.outputs import table as rendering
    from analysis.rows import blocks

    store = open_store(options["uri"])
    data = results_summary.select(read_selection(store, options))
    lines = list(results_summary.lines(data, blocks.read(store, data.block_rows)))
    click.echo(rendering.render(lines, form))
    if form == "text":
        look = Look()
        click.echo("\n" + " ".join(captions.setting(data.headline.selection, look)))
        click.echo(" ".join(results_summary.notes(data, look)))
    for missing in data.missing:
        warn(missing)
