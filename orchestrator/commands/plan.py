"""`sweep plan`: what a launch would do, and what it would cost."""

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from orchestrator.commands.options import (
    echo_json,
    grid_options,
    json_option,
    read_grid,
    store_option,
)
from orchestrator.errors import EXIT_USAGE, UsageError
from orchestrator.words import counted

if TYPE_CHECKING:
    from orchestrator.reports.plan import Estimate, Plan
    from orchestrator.sweep import Sweep


@click.command()
@grid_options
@store_option
@click.option("--address", metavar="ADDR", help="Look at the hardware of this Ray cluster, too.")
@click.option(
    "--probe",
    is_flag=True,
    help="Try every model, method and cache size for a few seconds, on the cluster of --address or "
    "on this machine, and take the times from there.",
)
@click.option("--inline", is_flag=True, help="With --probe: in this process, without Ray.")
@click.option(
    "--price",
    type=click.FloatRange(min=0),
    metavar="PER_HOUR",
    help="Price of one hour on the device, in any currency.",
)
@json_option
def plan(
    store_uri: str,
    address: str | None,
    probe: bool,
    inline: bool,
    price: float | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Show what a launch would run, what is done, the work and the estimated time.

    Work is counted in token-forwards: tokens run through the model. Times come from the rows in
    the store, of the device that ran most lately, or with --probe from trying every kind of
    evaluation; else they are unknown. Texts that no row in the store tells the length of are read
    here and their tokens counted, long ones by samples; a text, tokenizer or model that cannot be
    had is a problem, and the exit code is 2.
    Nothing is started, but for --probe and --address, and nothing is written.
    """
    if inline and not probe:
        raise UsageError("--inline says where --probe tries the evaluations; give both or neither")
    grid = read_grid(options)

    from orchestrator.reports.plan import make_plan  # pyarrow: after a wrong grid has been told
    from orchestrator.store.store import Store

    accelerators = _accelerators(address, grid)
    tries = None
    if probe:
        from orchestrator.launch import Where, probe_times  # ray

        where = Where(inline=inline, address=address)
        tries = partial(probe_times, grid, where=where, tell=partial(click.echo, err=True))
    made = make_plan(grid, Store(store_uri), accelerators=accelerators, probe=tries)
    if as_json:
        cost = None if price is None else made.cost(price)
        echo_json({**made.as_json(), "cost": cost})
    else:
        click.echo(describe_plan(made, store_uri, price))
    if made.problems:  # a launch would fail on them
        click.get_current_context().exit(EXIT_USAGE)


def _accelerators(address: str | None, grid: "Sweep") -> list[str]:
    """Return the kinds of GPU of a cluster; raises if no evaluation could run there."""
    if address is None:
        return []
    from orchestrator.cluster.connection import connect  # ray: only where a cluster is asked for
    from orchestrator.cluster.placement import requests

    with connect(address=address) as cluster:
        alive, possible = cluster.nodes(), cluster.node_types()
        requests(grid.resources, alive, possible)
        return [kind for node in (*alive, *possible) if node.gpus for kind in node.accelerators]


def describe_plan(made: "Plan", store_uri: str, price: float | None) -> str:
    """Return a plan as lines of text."""
    from orchestrator.reports.tables import text_table

    estimate = made.estimate
    lines = [
        f"{made.sweep}: {counted(made.total, 'evaluation')} "
        f"({counted(made.folded, 'duplicate')} folded), "
        f"{made.done} done in {store_uri}, {estimate.evaluations} to run"
        + (f" ({made.failed} of them failed before)" if made.failed else "")
    ]
    if made.groups:
        header = ("model", "data set", "method", "to run", "token-forwards", "time")
        rows = [
            (group.model, group.dataset, group.method, *_estimate_cells(group.estimate))
            for group in made.groups
        ]
        lines += ["", text_table(header, [*rows, ("all", "", "", *_estimate_cells(estimate))]), ""]
        lines += _notes(made)
    if price is not None:
        cost = made.cost(price)
        least = "at least " if estimate.time_unknown else ""
        if cost is None:
            lines.append("cost: unknown, as the time is")
        else:
            lines.append(f"cost: {least}{cost:,.2f} at {price:g} per hour")
    lines += [f"warning: {warning}" for warning in made.warnings]
    return "\n".join(lines + [f"problem: {problem}" for problem in made.problems])


def total_line(made: "Plan") -> str:
    """Return the plan of a launch in one line."""
    count, work, time = _estimate_cells(made.estimate)
    device = f" on {made.device}" if made.device and made.estimate.seconds is not None else ""
    return (
        f"{made.sweep}: {counted(made.total, 'evaluation')}, {made.done} done, {count} to run: "
        f"{work} token-forwards, time {time}{device}"
    )


def _estimate_cells(estimate: "Estimate") -> tuple[int, str, str]:
    from orchestrator.progress.display import duration

    work = f"{estimate.token_forwards:,}"
    if estimate.work_unknown:
        work = "unknown" if not estimate.token_forwards else f"{work} + unknown"
    elif not estimate.work_is_exact:
        work = f"{'about' if estimate.work_is_sampled else 'at most'} {work}"
    if estimate.seconds is None:
        return estimate.evaluations, work, "unknown"
    time = duration(estimate.seconds) + (" + unknown" if estimate.time_unknown else "")
    return estimate.evaluations, work, time


def _notes(made: "Plan") -> list[str]:
    from orchestrator.progress.display import duration

    lines: list[str] = []
    if not made.probed:
        if made.device is None or made.estimate.seconds is None:
            what = "nothing like it is in the store yet: --probe measures it"
            return [f"time: unknown; {what}"]
        lines.append(
            f"time: of one device, as fast as {made.device} was in earlier rows of this store"
        )
    elif made.wall_seconds is not None:
        at_once = "one at a time" if made.evaluators == 1 else f"{made.evaluators} at a time"
        lines.append(
            f"time: as tried on {made.device}; by the wall about {duration(made.wall_seconds)}, "
            f"{duration(made.overhead_seconds)} of it to start and to load, {at_once}"
        )
    if made.estimate.time_unknown:
        which = "" if made.probed else " that are like none in the store"
        lines.append(
            f"time: unknown for {counted(made.estimate.time_unknown, 'evaluation')}{which}"
        )
    return lines
