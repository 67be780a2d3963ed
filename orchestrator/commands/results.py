"""`sweep results`: rows of the store for people and programs."""

import json
import math
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from orchestrator.commands.options import store_option

if TYPE_CHECKING:
    import pyarrow as pa


@click.command()
@store_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json", "markdown"]),
    default="table",
    show_default=True,
    help="How to print the rows.",
)
@click.option(
    "--where",
    multiple=True,
    metavar="COLUMN=VALUE",
    help="Only such rows; also !=, <, <=, >, >=, and null for what is missing. Repeatable.",
)
@click.option("--sort", multiple=True, metavar="COLUMN", help="-COLUMN descends. Repeatable.")
@click.option("--columns", metavar="A,B,…", help="Which columns, in which order.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most this many rows.")
@click.option("--attempts", is_flag=True, help="Every attempt, failed ones too.")
def results(store_uri: str, form: str, **options: Any) -> None:
    """Print the results in a store: the latest ok row of each evaluation and kind of machine.

    Example: sweep results --where dataset=pg19 --where method=streaming --sort perplexity
    """
    from orchestrator.store import query  # pyarrow: not for --help
    from orchestrator.store.store import Store

    chosen: tuple[str, ...] = ()
    if columns := options.pop("columns"):
        chosen = tuple(columns.split(","))
    elif form not in ("csv", "json"):
        chosen = query.ATTEMPT_COLUMNS if options["attempts"] else query.DEFAULT_COLUMNS
    store = Store(store_uri)
    table = query.select_rows(store, query.Query(columns=chosen, **options))
    click.echo(render_results(table, form))
    if table.num_rows == 0:
        click.echo(f"no such row in {store_uri}", err=True)
    for path, reason in store.damaged:
        click.echo(f"warning: damaged file left out: {path}: {reason}", err=True)


def render_results(table: "pa.Table", form: str) -> str:
    """Return rows in one of the formats."""
    from orchestrator.reports import tables

    if form == "json":
        plain = [{name: _plain(value) for name, value in row.items()} for row in table.to_pylist()]
        return json.dumps(plain, indent=2, allow_nan=False)
    rows = [tuple(row.values()) for row in table.to_pylist()]
    write = {
        "table": tables.text_table,
        "csv": tables.csv_table,
        "markdown": tables.markdown_table,
    }[form]
    return write(table.column_names, rows)


def _plain(value: Any) -> Any:
    """Return a value as JSON has it; an infinite perplexity is a text, because null is missing."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value.isoformat() if isinstance(value, datetime) else value
