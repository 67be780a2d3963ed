"""`analysis compare`: two stores, or two sweeps of one store."""

import json
from typing import TYPE_CHECKING

import click

from analysis.commands.options import format_option, open_store

if TYPE_CHECKING:
    from analysis.outputs.compare import Difference


@click.command()
@click.argument("a", metavar="STORE_A")
@click.argument("b", metavar="[STORE_B]", required=False)
@click.option("--sweep-a", metavar="NAME", help="Only rows of this sweep on the first side.")
@click.option("--sweep-b", metavar="NAME", help="Only rows of this sweep on the second side.")
@format_option(("text", "json"), "differences are")
def compare(a: str, b: str | None, sweep_a: str | None, sweep_b: str | None, form: str) -> None:
    """Compare the evaluations that two stores, or two sweeps of one store, have in common.

    Perplexity: paired difference of B to A with its 95 % interval. Speed: only where device,
    versions and timing settings agree.
    """
    from analysis.outputs import compare as comparing
    from analysis.rows import blocks, frames
    from analysis.rows.frames import matching
    from orchestrator.errors import UsageError

    if b is None and (sweep_a is None or sweep_b is None):
        raise UsageError("name a second store, or --sweep-a and --sweep-b of the one store")
    stores = [open_store(a), open_store(b or a)]
    conditions = [[f"sweep={name}"] if name else [] for name in (sweep_a, sweep_b)]
    sides = [matching(frames.load(s), c) for s, c in zip(stores, conditions, strict=True)]
    both = comparing.matched(*sides)
    found = {
        **blocks.read(stores[0], both["row_id_a"].tolist()),
        **blocks.read(stores[1], both["row_id_b"].tolist()),
    }
    differences = list(comparing.differences(both, found))
    if form == "json":
        click.echo(json.dumps([one.as_dict() for one in differences], indent=2))
        return
    for one in differences:
        click.echo(_line(one))
    only = [len(side) - len(differences) for side in sides]
    click.echo(f"{len(differences)} in common; only in A: {only[0]}, only in B: {only[1]}")


def _line(one: "Difference") -> str:
    from analysis.drawing import numbers
    from analysis.rows.intervals import Interval

    cache = "" if one.budget is None else f" {one.budget:,}"
    parts = [f"{one.dataset} {one.method}{cache}:"]
    if one.perplexity_a is not None and one.perplexity_b is not None:
        values = f"{numbers.perplexity(one.perplexity_a)} -> {numbers.perplexity(one.perplexity_b)}"
        parts.append(f"perplexity {values}")
    if one.increase is not None:
        if one.increase_low is None or one.increase_high is None:
            parts.append(f"({numbers.percent(one.increase, signed=True)}, no common blocks)")
        else:
            interval = Interval(one.increase, one.increase_low, one.increase_high)
            parts.append(f"({numbers.increase(interval)})")
    if one.speedup is not None:
        parts.append(f"speed {numbers.times(one.speedup)}")
        if one.speedup_low is not None and one.speedup_high is not None:
            low, high = numbers.times(one.speedup_low), numbers.times(one.speedup_high)
            parts.append(f"({low} to {high} over the repeats)")
    elif one.runtime_a is not None and one.runtime_b is not None:
        parts.append("speed not compared: another device, version or timing setting")
    return " ".join(parts)
