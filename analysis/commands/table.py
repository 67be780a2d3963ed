"""`analysis table`: the summary of a store on the terminal."""

from typing import Any

import click

from analysis.commands.options import format_option, open_store, read_selection, row_options, warn
from analysis.names import TABLE_FORMATS


@click.command()
@row_options
@format_option(TABLE_FORMATS, "table is")
def table(form: str, **options: Any) -> None:
    """Print perplexity, runtime, speedup and compression for each text and method."""
    from analysis import blocks, captions, summary
    from analysis import table as rendering
    from analysis.style import Look

    store = open_store(options["uri"])
    data = summary.select(read_selection(store, options))
    lines = list(summary.lines(data, blocks.read(store, data.block_rows)))
    click.echo(rendering.render(lines, form))
    if form == "text":
        look = Look()
        click.echo("\n" + " ".join(captions.setting(data.headline.selection, look)))
        click.echo(" ".join(summary.notes(data, look)))
    for missing in data.missing:
        warn(missing)
