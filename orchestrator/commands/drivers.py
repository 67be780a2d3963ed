"""`sweep watch` follows running drivers live; `sweep cancel` asks them to stop cleanly."""

import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import click

from orchestrator.commands.options import cluster_option, run_on_head, store_option
from orchestrator.errors import EXIT_INTERRUPTED, OrchestratorError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.store.store import Store

PLAIN_SECONDS = 5.0
SERVING_TICK = 0.1


@click.command()
@store_option
@cluster_option
@click.option(
    "--web",
    is_flag=True,
    help="Serve the report of `analysis report --watch` on this machine's loopback address, to "
    "whoever has the printed address with its secret, until Ctrl-C.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default=True,
    help="Port of --web; 0: one that is free.",
)
def watch(store_uri: str, cluster: str | None, web: bool, port: int) -> None:
    """Follow the drivers that run on a store, until the last one has ended.

    Shows what is running with its documents, tokens and perplexity so far. Where the output is
    not a terminal, one line per driver every few seconds. Ctrl-C stops watching, not the sweep.
    """
    if web and cluster is not None:
        raise UsageError("--web serves on this machine: leave out --cluster and name the store")
    if cluster is not None:
        run_on_head(cluster, store_uri)
        return
    if web:
        _serve(store_uri, port)
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
        f"sweep status --store {quote(store_uri)} shows what is there"
    )


def _serve(store_uri: str, port: int) -> None:
    """Serve the page that a process of `analysis report --watch` keeps writing.

    A process, because this package does not know the analysis; the secret is not among its
    arguments, and the page lies in a folder that only this user can open.
    """
    from orchestrator.progress.web import PageServer

    with tempfile.TemporaryDirectory(prefix="sinksweep-") as folder:
        page = Path(folder) / "report.html"
        try:
            server = PageServer(page, port)
        except OSError as error:
            raise UsageError(
                f"--port {port}: {error.strerror}; leave it out for a free one"
            ) from error
        command = ["-m", "analysis.cli", "report", "--watch", "--store", store_uri]
        writer = subprocess.Popen(
            [sys.executable, *command, "--out", str(page)], stdout=subprocess.DEVNULL
        )
        threading.Thread(target=server.serve_forever, daemon=True).start()
        click.echo(f"{server.url}\nCtrl-C stops serving, not the sweep")
        try:
            _wait(writer)
            click.echo("stopped serving")
        finally:
            writer.terminate()
            writer.wait()
            server.shutdown()
            server.server_close()


def _wait(writer: "subprocess.Popen[bytes]") -> None:
    """Wait until somebody stops this; the page stays when its writer has ended."""
    from orchestrator.process import Interrupts

    with Interrupts() as interrupts:
        has_ended = False
        while not interrupts.requested:
            code = writer.poll()
            if code == EXIT_INTERRUPTED:  # Ctrl-C reaches it, too
                return
            if code:
                raise OrchestratorError("the report could not be written; its message stands above")
            if code == 0 and not has_ended:
                has_ended = True
                click.echo("no driver is running any more; the page stays until Ctrl-C")
            time.sleep(SERVING_TICK)


def _follow(store: "Store", console: "Console") -> bool:
    """Show the drivers until none is left; return whether there was any."""
    from rich.live import Live

    from orchestrator.progress.display import plain_line, render_drivers
    from orchestrator.store.heartbeats import watch_drivers

    seen = False
    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            for states in watch_drivers(store):
                seen = True
                live.update(render_drivers(states), refresh=True)
    else:
        due = 0.0
        for states in watch_drivers(store):
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
