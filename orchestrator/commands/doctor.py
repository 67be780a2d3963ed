"""`sweep doctor`: is this machine ready, and is this model worth streaming?"""

from dataclasses import asdict
from typing import Any

import click

from orchestrator.commands.options import echo_json, json_option, store_option
from orchestrator.errors import EXIT_FAILED

SIGNS = {"ok": "ok     ", "warning": "warning", "failed": "FAILED "}


@click.command()
@store_option
@click.option("--local", is_flag=True, help="Start Ray on this machine to see that it does.")
@click.option("--address", metavar="ADDR", help="Look at the Ray cluster at this address.")
@click.option("--no-hub", is_flag=True, help="Do not try to reach the Hugging Face Hub.")
@click.option("--model", metavar="MODEL", help="Measure the attention sink of this model instead.")
@click.option(
    "--dataset",
    default="stdlib",
    show_default=True,
    help="The text on which --model is measured.",
)
@json_option
def doctor(model: str | None, dataset: str, as_json: bool, **options: Any) -> None:
    """Check Python, packages, GPU, demo model, store, Hub and Ray.

    Exit code 1 if a check failed; warnings do not count. With --model: how much attention the
    model's heads pay to the first token, which is what makes attention sinks matter.
    """
    if model is not None:
        _sinks(model, dataset, as_json)
        return
    from orchestrator.reports.doctor import (
        examine,  # lazily, as everything that --help does not need
    )

    store_uri, hub = options.pop("store_uri"), not options.pop("no_hub")
    found = []
    for check in examine(store_uri, hub=hub, **options):
        found.append(check)
        if not as_json:
            click.echo(f"{SIGNS[check.state]}  {check.name}: {check.message}")
    failed = any(check.state == "failed" for check in found)
    if as_json:
        echo_json({"checks": [asdict(check) for check in found], "ready": not failed})
    if failed:
        click.get_current_context().exit(EXIT_FAILED)


def _sinks(model: str, dataset: str, as_json: bool) -> None:
    from orchestrator.reports.sink_report import describe, measure  # torch

    report = measure(model, dataset)
    if as_json:
        echo_json(asdict(report))
    else:
        click.echo(describe(report))
