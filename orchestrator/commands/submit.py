"""`sweep submit`: launch on a cluster's head, then detach."""

import shlex
from dataclasses import asdict
from typing import Any

import click
from click.core import ParameterSource

from orchestrator.commands.options import (
    echo_json,
    grid_options,
    json_option,
    launch_options,
    read_grid,
)
from orchestrator.words import counted


@click.command()
@grid_options
@click.option(
    "--store",
    "store_uri",
    default="results",
    show_default=True,
    metavar="URI",
    help="s3://BUCKET/PATH, gs://BUCKET/PATH or an absolute path on the head; with --cluster also "
    "one relative to the checkout there.",
)
@click.option(
    "--cluster",
    metavar="FILE",
    help="The file that `ray up` was given: the head is found and reached through SSH.",
)
@click.option(
    "--address",
    metavar="URL",
    envvar="RAY_API_SERVER_ADDRESS",
    help="Without --cluster: the job server  [default: http://127.0.0.1:8265], which "
    "`ray dashboard FILE` brings to this machine.",
)
@click.option(
    "--python",
    help="The Python on the head in which sinksweep is installed  [default: with --cluster the "
    "one of the file, else python].",
)
@launch_options
@json_option
def submit(
    store_uri: str,
    cluster: str | None,
    address: str | None,
    python: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Run `sweep launch` on a cluster's head as a Ray job and return once its driver works.

    The grid and its texts of up to 64 MB are sent along; larger texts and model folders must be
    at the same absolute path on every node.
    """
    source, overrides = options["grid"], options["overrides"]
    sweep = read_grid(options)

    from orchestrator.cluster.head import job_server

    if (
        cluster is not None
        and click.get_current_context().get_parameter_source("address")
        is ParameterSource.ENVIRONMENT
    ):
        address = None  # a variable is about no cluster in particular
    arguments = [part for name, value in options.items() for part in _argument(name, value)]
    with job_server(address, cluster, python, store_uri) as (url, there, store):
        from orchestrator.cluster.jobs import submit as send  # ray, in the cluster's mode

        job = send(source, overrides, store, arguments, python=there, address=url)
    if as_json:
        echo_json({**asdict(job), "sweep": sweep.name, "evaluations": len(sweep.evaluations)})
        return
    click.echo(
        f"{sweep.name}: job {job.id} runs {counted(len(sweep.evaluations), 'evaluation')} "
        f"on {cluster or url}" + ("" if job.alive else "; its driver is still starting")
    )
    click.echo("\n".join(f"  {line}" for line in _hints(cluster, store_uri, job.id, url)))


def _hints(cluster: str | None, store_uri: str, job_id: str, url: str) -> list[str]:
    """Return how to go on from this machine."""
    where = f"--store {shlex.quote(store_uri)}"
    if cluster is None:
        logs = f"ray job logs --follow --address {url} {job_id}"
        there = "" if "://" in store_uri else "   (where the folder is seen: on the head)"
        fetch = [f"results:   sweep fetch --from {shlex.quote(store_uri)}"] if not there else []
    else:
        file = shlex.quote(cluster)
        where, there = f"--cluster {file} {where}", ""
        logs = f"ray exec {file} 'ray job logs --follow {job_id}'"
        fetch = [f"results:   sweep fetch --cluster {file} --from {shlex.quote(store_uri)}"]
    return [
        f"progress:  sweep watch {where}{there}",
        f"output:    {logs}",
        f"stop:      sweep cancel {where}{there}",
        *fetch,
    ]


def _argument(name: str, value: Any) -> list[str]:
    """Return an option of `launch_options` as it is written on a command line."""
    if name == "retry_failed":
        return [] if value else ["--skip-failed"]
    flag = "--" + name.replace("_", "-")
    if isinstance(value, bool):
        return [flag] if value else []
    return [] if value is None else [flag, str(value)]
