"""`analysis audit`: what is wrong, doubtful or worth knowing about the rows of a store."""

import json
from typing import Any

import click

from analysis.commands.options import format_option, open_store, read_frame, row_options


@click.command()
@row_options
@format_option(("text", "json"), "findings are")
@click.option("--strict", is_flag=True, help="Exit with 1 if there is an error or a warning.")
def audit(form: str, strict: bool, **options: Any) -> None:
    """Check every row against the rules of an honest measurement.

    Finds rows that never evicted, cold starts, timings on shared devices, caches that were not
    full, baselines that are missing or strided, self-checks that are missing or failed.
    """
    from analysis.outputs.audit import audit as examine
    from analysis.rows.comparable import on_device

    store = open_store(options["uri"])
    frame = on_device(read_frame(store, options), options["device"])
    found = examine(frame)
    if form == "json":
        click.echo(json.dumps([finding.as_dict() for finding in found], indent=2))
    else:
        for finding in found:
            click.echo(str(finding))
        click.echo(f"{len(frame)} results, {len(found)} findings")
    if strict and any(finding.severity != "note" for finding in found):
        raise SystemExit(1)
