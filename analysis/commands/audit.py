"""`analysis audit`: what is wrong, doubtful or worth knowing about the rows of a store."""

import json
from typing import TYPE_CHECKING, Any

import click

from analysis.commands.options import format_option, open_store, read_frame, row_options, warn
from orchestrator.words import counted

if TYPE_CHECKING:
    from orchestrator.store.store import Store


@click.command()
@row_options
@format_option(("text", "json"), "findings are")
@click.option(
    "--strict",
    is_flag=True,
    help="Exit with 1 if there is an error or a warning, or nothing to check.",
)
def audit(form: str, strict: bool, **options: Any) -> None:
    """Check every row against the rules of an honest measurement.

    Finds rows that never evicted, cold starts, timings on shared devices, caches that were not
    full, baselines that are missing or strided, self-checks that are missing or failed.
    """
    from analysis.outputs.audit import SHOWN
    from analysis.outputs.audit import audit as examine
    from analysis.rows.comparable import on_device

    store = open_store(options["uri"])
    frame = on_device(read_frame(store, options), options["device"])
    if frame.empty:
        say_empty(store, strict=strict)
    found = examine(frame, named=SHOWN if form == "text" else None)
    if form == "json":
        click.echo(json.dumps([finding.as_dict() for finding in found], indent=2))
    else:
        for finding in found:
            click.echo(str(finding))
        click.echo(f"{counted(len(frame), 'result')}, {counted(len(found), 'finding')}")
    if strict and any(finding.severity != "note" for finding in found):
        raise SystemExit(1)


def say_empty(store: "Store", *, strict: bool) -> None:
    """Say why there is no result. Raises `AnalysisError` if none to check is a failure."""
    from analysis.errors import AnalysisError

    attempts = store.trials(["status"]).num_rows
    what = f"{counted(attempts, 'attempt')} failed" if attempts else "no attempt is stored there"
    message = f"{store.uri} holds no results ({what}): nothing was checked"
    if strict:
        raise AnalysisError(f"--strict: {message}; sweep status --store {store.uri} says more")
    warn(message)
