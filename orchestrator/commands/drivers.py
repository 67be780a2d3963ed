"""`sweep watch` follows running drivers live; `sweep cancel` asks them to stop cleanly."""

import time
from typing import TYPE_CHECKING

import click

from orchestrator.commands.options import cluster_option, run_on_head, store_option
from orchestrator.errors import EXIT_INTERRUPTED

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.store.store import Store

PLAIN_SECONDS = 5.0


@click.command()
@store_option
@cluster_option
def watch(store_uri: str, cluster: str | None) -> None:
    """Follow the drivers that run on a store, until the last one has ended.

    Shows what is running with its documents, tokens and perplexity so far. Where the output is
    not a terminal, one line per driver every few seconds. Ctrl-C stops watching, not the sweep.
    """
    if cluster is not None:
        run_on_head(cluster, store_uri)
        return

    from rich.console import Console  # not for --help

    from orchestrator.store.store import Store

    store, console = Store(store_uri), Console()
    try:
        seen = _follow(store, console)
    except KeyboardInterrupt:
        click.echo("stopped watching; the sweep goes on (sweep cancel would stop it)")
        click.get_current_context().exit(EXIT_INTERRUPTED)
    click.echo(
        f"no driver is running on {store_uri}{' any more' if seen else ''}; "
        f"sweep status --store {store_uri} shows what is there"
    )


def _follow(store: "Store", console: "Console") -> bool:
    """Show the drivers until none is left; return whether there was any."""
    from rich.live import Live

    from orchestrator.progress.display import plain_line, render_drivers
    from orchestrator.store.heartbeats import watch

    seen = False
    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            for states in watch(store):
                seen = True
                live.update(render_drivers(states), refresh=True)
    else:
        due = 0.0
        for states in watch(store):
            seen = True
            if time.monotonic() >= due:
                due = time.monotonic() + PLAIN_SECONDS
                click.echo("\n".join(plain_line(state) for state in states))
    return seen


@click.command()
@store_option
@click.option("--sweep", "name", metavar="NAME", help="Only drivers of the sweep of this name.")
@cluster_option
def cancel(store_uri: str, name: str | None, cluster: str | None) -> None:
    """Ask the drivers that run on a store to stop cleanly.

    They commit what is finished and end with exit code 130; the same launch continues later.
    """
    if cluster is not None:
        run_on_head(cluster, store_uri, *(["--sweep", name] if name else []))
        return

    from orchestrator.store.heartbeats import (
        living_drivers,
        request_cancel,  # pyarrow: not for --help
    )
    from orchestrator.store.store import Store

    store = Store(store_uri)
    drivers = [state for state in living_drivers(store) if name in (None, state.get("sweep"))]
    for state in drivers:
        request_cancel(store.storage, str(state["writer"]))
        where = f"{state.get('hostname')} pid {state.get('pid')}"
        click.echo(f"asked the driver of {state.get('sweep')} on {where} to stop")
    if not drivers:
        what = f"driver of {name}" if name else "driver"
        click.echo(f"no {what} is running on {store_uri}")
