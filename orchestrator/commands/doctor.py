"""`sweep doctor`: is this machine ready, and is this model worth streaming?"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from orchestrator.commands.options import echo_json, json_option, store_option
from orchestrator.errors import EXIT_FAILED, ClusterError

if TYPE_CHECKING:
    from orchestrator.reports.doctor import Check

SIGNS = {"ok": "ok     ", "warning": "warning", "failed": "FAILED "}


@click.command()
@store_option
@click.option("--local", is_flag=True, help="Start Ray on this machine to see that it does.")
@click.option("--address", metavar="ADDR", help="Look at the Ray cluster at this address.")
@click.option("--nodes", is_flag=True, help="With --address: ask every node of the cluster.")
@click.option(
    "--cluster",
    metavar="FILE",
    help="Look at this cluster file, and if its head runs, at every machine of the cluster.",
)
@click.option("--grid", metavar="FILE_OR_NAME", help="With --cluster: what shall run there.")
@click.option("--no-hub", is_flag=True, help="Do not try to reach the Hugging Face Hub.")
@click.option("--model", metavar="MODEL", help="Measure the attention sink of this model instead.")
@click.option(
    "--dataset",
    default="stdlib",
    show_default=True,
    help="The text on which --model is measured.",
)
@json_option
def doctor(
    model: str | None,
    dataset: str,
    cluster: str | None,
    grid: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Check Python, packages, GPU, demo model, store, Hub and Ray.

    With --cluster: the file, before any money is spent (what is left to fill in, ports, token,
    versions, GPUs, what is copied, key), and if it runs, every machine of the cluster (Python,
    torch, GPU, code, texts, clock, disk).

    Exit code 1 if a check failed; warnings do not count. With --model: how much attention the
    model's heads pay to the first token, which is what makes attention sinks matter.
    """
    if model is not None:
        from orchestrator.reports.sink_report import describe_sinks, measure  # torch

        report = measure(model, dataset)
        if as_json:
            echo_json(asdict(report))
        else:
            click.echo(describe_sinks(report))
        return
    if cluster is not None:
        _tell(_of_cluster(cluster, grid, options["store_uri"]), as_json)
        return
    from orchestrator.reports.doctor import (
        examine,  # lazily, as everything that --help does not need
    )

    store_uri, hub = options.pop("store_uri"), not options.pop("no_hub")
    _tell(examine(store_uri, hub=hub, **options), as_json)


def _of_cluster(cluster: str, grid: str | None, store_uri: str) -> Iterator["Check"]:
    """Yield what is found about a cluster file, then what its head finds if it runs."""
    from orchestrator.cluster.cluster_file import read_cluster_file
    from orchestrator.cluster.head import Head
    from orchestrator.reports.cluster_doctor import examine_file
    from orchestrator.reports.doctor import Check

    file = read_cluster_file(cluster, complete=False)
    resources = None
    if grid is not None:
        from orchestrator.grid.load import load_grid

        resources = load_grid(grid, confirm_large=True).resources
    ready = True
    for check in examine_file(file, resources):
        ready &= check.state != "failed"
        yield check
    if not ready:
        return
    try:
        head = Head(cluster)
        ask = ["doctor", "--address", "auto", "--nodes", "--no-hub", "--json"]
        answer = head.ask([*ask, "--store", file.store_on_head(store_uri)])
    except ClusterError as error:
        yield Check("head", "warning", f"{error} (before `ray up` this is as it should be)")
        return
    for item in answer["checks"]:
        if item["state"] == "ok" and re.fullmatch(r"[\d.+\w]+", item["message"]):
            continue  # a package in a version that will do
        yield Check(**{**item, "name": f"head: {item['name']}".replace("head: node", "node")})


def _tell(checks: Iterable["Check"], as_json: bool) -> None:
    found = []
    for check in checks:
        found.append(check)
        if not as_json:
            click.echo(f"{SIGNS[check.state]}  {check.name}: {check.message}")
    failed = any(check.state == "failed" for check in found)
    if as_json:
        echo_json({"checks": [asdict(check) for check in found], "ready": not failed})
    if failed:
        click.get_current_context().exit(EXIT_FAILED)
