"""`sweep cancel`: ask running drivers to stop cleanly."""

import click

from orchestrator.commands.options import store_option


@click.command()
@store_option
@click.option("--sweep", "name", metavar="NAME", help="Only drivers of the sweep of this name.")
def cancel(store_uri: str, name: str | None) -> None:
    """Ask the drivers that run on a store to stop cleanly.

    They commit what is finished and end with exit code 130; the same launch continues later.
    """
    from orchestrator.reports.status import living_drivers
    from orchestrator.store.heartbeats import request_cancel  # pyarrow: not for --help
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
