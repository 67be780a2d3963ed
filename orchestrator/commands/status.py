"""`sweep status`: what is in the store, who is working on it, and why things failed."""

from typing import TYPE_CHECKING

import click

from orchestrator.commands.options import (
    cluster_option,
    echo_json,
    json_option,
    run_on_head,
    store_option,
)
from orchestrator.words import counted

if TYPE_CHECKING:
    from orchestrator.reports.status import Status

CAUSES_SHOWN = 20
MESSAGE_LINES = 20
"""Of one message; a longer one is a traceback, which the log has."""


@click.command()
@store_option
@click.option("--grid", metavar="FILE_OR_NAME", help="Count per entry of this grid, too.")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="As given to sweep launch."
)
@cluster_option
@json_option
def status(
    store_uri: str,
    grid: str | None,
    overrides: tuple[str, ...],
    cluster: str | None,
    as_json: bool,
) -> None:
    """Show drivers, counts and failures, from any machine that sees the store.

    Failures are evaluations without an ok row, grouped by cause. With --cluster, --grid is a
    built-in name or a file of the head.
    """
    if cluster is not None:
        named = [] if grid is None else ["--grid", grid]
        changed = [part for override in overrides for part in ("--set", override)]
        run_on_head(cluster, store_uri, *named, *changed, *(["--json"] if as_json else []))
        return

    from orchestrator.grid.load import load_grid  # pydantic and pyarrow: not for --help
    from orchestrator.reports.status import read_status
    from orchestrator.store.store import Store

    sweep = None if grid is None else load_grid(grid, overrides=overrides, confirm_large=True)
    found = read_status(Store(store_uri), sweep)
    if as_json:
        echo_json(found.as_json())
    else:
        click.echo(describe_status(found, store_uri))


def describe_status(found: "Status", store_uri: str) -> str:
    """Return a status as lines of text."""
    from orchestrator.progress.display import state_line
    from orchestrator.progress.snapshot import Snapshot
    from orchestrator.reports.tables import text_table

    drivers = [
        f"driver {state.get('writer')} on {state.get('hostname')} (pid {state.get('pid')}): "
        f"{state_line(Snapshot.from_json(state))}"
        for state in found.drivers
    ]
    sections = [drivers or ["no driver is running"]]
    if found.sweeps:
        sweeps = [(s.sweep, s.ok, s.failed, s.attempts, s.latest) for s in found.sweeps]
        header = ("sweep", "ok", "failed", "attempts", "latest (UTC)")
        sections.append([text_table(header, sweeps)])
    else:
        sections.append([f"{store_uri}: no evaluations yet"])
    if found.entries:
        entries = [
            (f"grids[{e.entry}]", e.evaluations, e.ok, e.failed, e.evaluations - e.ok - e.failed)
            for e in found.entries
        ]
        header = ("entry", "evaluations", "ok", "failed", "missing")
        sections.append([text_table(header, entries)])
    sections.append(_causes(found))
    sections.append([f"damaged: {path}: {reason}" for path, reason in found.damaged])
    return "\n\n".join("\n".join(lines) for lines in sections if lines)


def _causes(found: "Status") -> list[str]:
    lines = []
    for cause in found.causes[:CAUSES_SHOWN]:
        times = counted(cause.evaluations, "evaluation")
        first, *rest = cause.message.splitlines()
        lines.append(f"failed ({cause.kind or 'error'}), {times}: {first}")
        lines += [f"  {line}" for line in rest[:MESSAGE_LINES]]
        log = f", log: {cause.log_path}" if cause.log_path else ""
        lines.append(f"  latest: {cause.example}{log}")
    if len(found.causes) > CAUSES_SHOWN:
        lines.append(f"and {len(found.causes) - CAUSES_SHOWN} more causes: --json shows all")
    return lines
