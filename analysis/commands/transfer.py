"""`analysis import` and `analysis export`: other formats in and out."""

from pathlib import Path
from typing import Any

import click

from analysis.commands.options import (
    existing_store_option,
    open_store,
    read_frame,
    row_options,
    strict_option,
    warn,
)
from analysis.names import EXPORT_FORMATS
from orchestrator.words import counted


@click.command(name="import")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@existing_store_option
def import_(folder: Path, uri: str) -> None:
    """Read the original experiment's JSON result files as rows marked `imported`.

    What a file does not say stays empty. Imported rows never stand in for a measurement and
    never pair with one; importing a folder again changes nothing.
    """
    from analysis.outputs import original_format

    rows, skipped = original_format.read_originals(folder)
    store = open_store(uri)
    known = set(store.trials(["row_id"]).column("row_id").to_pylist())
    fresh = [row for row in rows if row["row_id"] not in known]
    store.append_trials(fresh)
    for reason in skipped:
        warn(f"skipped {reason}")
    there = len(rows) - len(fresh)
    click.echo(f"{counted(len(fresh), 'row')} imported into {store.uri}, {there} there before")


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@row_options
@strict_option
@click.option(
    "--format",
    "forms",
    multiple=True,
    type=click.Choice(EXPORT_FORMATS),
    default=("csv",),
    show_default=True,
    help="csv, json, parquet, markdown: one line per result. original: the JSON files of the "
    "original experiment. Repeatable.",
)
def export(folder: Path, forms: tuple[str, ...], **options: Any) -> None:
    """Write the results for other tools, with speedups and increases of the pairs."""
    from analysis.outputs import export as exporting
    from analysis.outputs import original_format
    from analysis.rows import comparable

    store = open_store(options["uri"])
    frame = read_frame(store, options, everything=True)
    frame = comparable.on_device(frame, options["device"])
    measured = frame[frame["source"].ne("imported")]
    for form in dict.fromkeys(forms):
        if form == "original":
            files = original_format.reported(frame, apart=not measured.empty)
            paths = original_format.write_files(files, folder)
            if not (paths and measured.empty):
                chosen = comparable.choose(measured, store=store.uri, stride=options["stride"])
                paths += original_format.write_files(original_format.original(chosen), folder)
        else:
            paths = [exporting.write_results(frame.drop(columns="reported"), folder, form)]
        for path in paths:
            click.echo(path)
