"""`sweep submit`: launch on a cluster's head, then detach."""

from dataclasses import asdict
from typing import Any

import click

from orchestrator.commands.options import (
    echo_json,
    grid_options,
    json_option,
    launch_options,
    read_grid,
)


@click.command()
@grid_options
@click.option(
    "--store",
    "store_uri",
    required=True,
    metavar="URI",
    help="s3://BUCKET/PATH, gs://BUCKET/PATH or an absolute path on the head.",
)
@click.option(
    "--address",
    metavar="URL",
    envvar="RAY_API_SERVER_ADDRESS",
    default="http://127.0.0.1:8265",
    show_default=True,
    help="The cluster's job server; `ray dashboard cluster.yaml` brings it to this machine.",
)
@click.option(
    "--python",
    default="python",
    show_default=True,
    help="The Python on the head in which sinksweep is installed.",
)
@launch_options
@json_option
def submit(store_uri: str, address: str, python: str, as_json: bool, **options: Any) -> None:
    """Run `sweep launch` on a cluster's head as a Ray job and return at once.

    The grid and its texts of up to 64 MB are sent along; larger texts and model folders must be
    at the same absolute path on every node. Follow it with `sweep watch --store URI`.
    """
    source, overrides = options["grid"], options["overrides"]
    sweep = read_grid(options)

    from orchestrator.cluster.jobs import submit as send  # ray

    arguments = [part for name, value in options.items() for part in _argument(name, value)]
    job = send(source, overrides, store_uri, arguments, python=python, address=address)
    if as_json:
        echo_json({**asdict(job), "sweep": sweep.name, "evaluations": len(sweep.evaluations)})
        return
    click.echo(f"{sweep.name}: job {job.id} runs {len(sweep.evaluations)} evaluations on {address}")
    click.echo(f"  progress:  sweep watch --store {store_uri}")
    click.echo(f"  output:    ray job logs --follow --address {address} {job.id}")
    click.echo(f"  stop:      sweep cancel --store {store_uri}")


def _argument(name: str, value: Any) -> list[str]:
    """Return an option of `launch_options` as it is written on a command line."""
    if name == "retry_failed":
        return [] if value else ["--skip-failed"]
    flag = "--" + name.replace("_", "-")
    if isinstance(value, bool):
        return [flag] if value else []
    return [] if value is None else [flag, str(value)]
