"""`analysis report`: one self-contained page about a store."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from analysis.commands.options import open_store, read_frame, row_options, strict_option
from orchestrator.words import counted

if TYPE_CHECKING:
    from orchestrator.store.store import Store

REFRESH_SECONDS = 10


@click.command()
@row_options
@strict_option
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The HTML file. Default: STORE/report.html, or ./results/report.html for a remote store.",
)
@click.option(
    "--watch",
    is_flag=True,
    help="Write it again whenever results arrive, until no driver runs on the store; a browser "
    "reads it again by itself.",
)
def report(out: Path | None, watch: bool, **options: Any) -> None:
    """Write figures, results, findings and provenance as one HTML file that needs no network.

    Every result can be sorted and filtered; figures are vector graphics with text captions.
    """
    from analysis.outputs import report as page
    from analysis.rows.comparable import choose, on_device

    store = open_store(options["uri"])
    path = out or (store.storage.local_root or Path("results")) / "report.html"
    if watch:
        _follow(store, path, options)
        return
    frame = on_device(read_frame(store, options, partners=True), options["device"])
    if frame.empty:
        choose(frame, store=store.uri)  # raises, with the command that fills the store
    page.write_report(page.render_report(store, frame, stride=options["stride"]), path)
    click.echo(path)


def _follow(store: "Store", path: Path, options: dict[str, Any]) -> None:
    """Write the page, and again after every change, until the last driver has ended."""
    from analysis.outputs import report as page
    from orchestrator.store.heartbeats import living_drivers
    from orchestrator.store.part_files import part_names
    from orchestrator.store.store import TRIALS_FOLDER

    before: list[str] | None = None
    while True:
        runs = bool(living_drivers(store))
        parts = part_names(store.storage, TRIALS_FOLDER)
        if parts != before or not runs:
            refresh = REFRESH_SECONDS if runs else 0
            frame = read_frame(store, options, partners=True)
            page.write_report(
                page.render_report(store, frame, stride=options["stride"], refresh=refresh), path
            )
            click.echo(f"{path}: {counted(len(frame), 'result')}")
            before = parts
        if not runs:
            return
        time.sleep(1)
