"""`analysis report`: one self-contained page about a store."""

from pathlib import Path
from typing import Any

import click

from analysis.commands.options import open_store, read_frame, row_options, strict_option


@click.command()
@row_options
@strict_option
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The HTML file. Default: STORE/report.html, or ./results/report.html for a remote store.",
)
def report(out: Path | None, **options: Any) -> None:
    """Write figures, table, findings and provenance as one HTML file that needs no network."""
    from analysis.outputs import report as page
    from analysis.rows import comparable

    store = open_store(options["uri"])
    frame = read_frame(store, options)
    chosen = comparable.choose(
        frame, device=options["device"], store=store.uri, stride=options["stride"]
    )
    path = out or (store.storage.local_root or Path("results")) / "report.html"
    page.write(page.render(store, frame, chosen), path)
    click.echo(path)
