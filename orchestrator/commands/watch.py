"""`sweep watch`: follow running drivers live."""

import time

import click

from orchestrator.commands.options import store_option

PLAIN_SECONDS = 5.0


@click.command()
@store_option
def watch(store_uri: str) -> None:
    """Follow the drivers that run on a store, until the last one has ended.

    Shows what is running with its documents, tokens and perplexity so far. Where the output is
    not a terminal, one line per driver every few seconds. Ctrl-C stops watching, not the sweep.
    """
    from rich.console import Console  # not for --help
    from rich.live import Live

    from orchestrator.store import Store
    from orchestrator.watching import plain_line, render_drivers
    from orchestrator.watching import watch as follow

    store, console = Store(store_uri), Console()
    seen = False
    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            for states in follow(store):
                seen = True
                live.update(render_drivers(states), refresh=True)
    else:
        due = 0.0
        for states in follow(store):
            seen = True
            if time.monotonic() >= due:
                due = time.monotonic() + PLAIN_SECONDS
                click.echo("\n".join(plain_line(state) for state in states))
    click.echo(
        f"no driver is running on {store_uri}{' any more' if seen else ''}; "
        f"sweep status --store {store_uri} shows what is there"
    )
