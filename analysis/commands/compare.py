"""`analysis compare`: two stores, or two sweeps of one store."""

import json
from typing import TYPE_CHECKING

import click

from analysis.commands.options import format_option, open_store

if TYPE_CHECKING:
    import pandas as pd

    from analysis.outputs.compare import Difference


@click.command()
@click.argument("a", metavar="STORE_A")
@click.argument("b", metavar="[STORE_B]", required=False)
@click.option("--sweep-a", metavar="NAME", help="Only rows of this sweep on the first side.")
@click.option("--sweep-b", metavar="NAME", help="Only rows of this sweep on the second side.")
@click.option(
    "--published",
    "is_published",
    is_flag=True,
    help="Compare with published numbers of the same model, text and cache instead.",
)
@format_option(("text", "json"), "differences are")
def compare(
    a: str, b: str | None, sweep_a: str | None, sweep_b: str | None, is_published: bool, form: str
) -> None:
    """Compare the evaluations that two stores, or two sweeps of one store, have in common.

    Perplexity: paired difference of B to A with its 95 % interval. Speed: only where device,
    versions and timing settings agree.
    """
    from analysis.outputs import compare as comparing
    from analysis.rows import blocks, frames
    from analysis.rows.frames import matching
    from orchestrator.errors import UsageError

    if is_published:
        _beside_published(matching(frames.load(open_store(a)), _of_sweep(sweep_a)), form)
        return
    if b is None and (sweep_a is None or sweep_b is None):
        raise UsageError("name a second store, or --sweep-a and --sweep-b of the one store")
    stores = [open_store(a), open_store(b or a)]
    conditions = [_of_sweep(name) for name in (sweep_a, sweep_b)]
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
    changed = [one for one in differences if not one.is_same_row]
    for one in changed:
        click.echo(_line(one))
    matched = [both[f"row_id_{side}"].nunique() for side in "ab"]
    only = [len(side) - count for side, count in zip(sides, matched, strict=True)]
    same = len(differences) - len(changed)
    rows = f", {same} of them the same rows" if same else ""
    nothing = "; no differences" if not changed and not any(only) else ""
    click.echo(
        f"{len(differences)} in common{rows}; only in A: {only[0]}, only in B: {only[1]}{nothing}"
    )


def _of_sweep(name: str | None) -> list[str]:
    return [f"sweep={name}"] if name else []


def _beside_published(frame: "pd.DataFrame", form: str) -> None:
    """Print our results beside the published ones. Raises `AnalysisError` if there are none."""
    from analysis.drawing import numbers
    from analysis.errors import AnalysisError
    from analysis.outputs import compare as comparing
    from analysis.rows import published

    found = list(comparing.with_published(frame))
    if not found:
        known = ", ".join(published.models())
        raise AnalysisError(
            f"--published: nothing was published of these models, texts and caches; there are "
            f"numbers for {known} (perplexities on pg19)"
        )
    if form == "json":
        click.echo(json.dumps([one.as_dict() for one in found], indent=2))
        return
    for one in found:
        is_time = one.measure != "perplexity"
        write = numbers.milliseconds if is_time else numbers.perplexity_text
        what = f"{one.name}: {'ms per token' if is_time else 'perplexity'}"
        theirs = f"{write(one.published)} published ({one.where})"
        if one.ours is None:
            click.echo(f"{what} not measured here, {theirs}")
        else:
            ratio = numbers.times(one.ours / one.published)
            click.echo(f"{what} {write(one.ours)} here, {theirs}, ratio {ratio}")
    click.echo(f"published: {published.data()['source']}")


def _line(one: "Difference") -> str:
    from analysis.drawing import numbers
    from analysis.rows.intervals import Interval, is_difference

    parts = [f"{one.name}:"]
    if one.perplexity_a is not None and one.perplexity_b is not None:
        values = map(numbers.perplexity_text, (one.perplexity_a, one.perplexity_b))
        parts.append(f"perplexity {' -> '.join(values)}")
    if one.increase is not None:
        if one.increase_low is None or one.increase_high is None:
            parts.append(f"({numbers.percent(one.increase, signed=True)}, no common blocks)")
        else:
            interval = Interval(one.increase, one.increase_low, one.increase_high)
            parts.append(f"({numbers.increase_text(interval)})")
            if not is_difference(interval):
                parts.append("no difference beyond the interval")
    if one.speedup is not None:
        parts.append(f"speed {numbers.times(one.speedup)}")
        if one.speedup_low is not None and one.speedup_high is not None:
            low, high = numbers.times(one.speedup_low), numbers.times(one.speedup_high)
            parts.append(f"({low} to {high} over the repeats)")
    elif one.runtime_a is not None and one.runtime_b is not None:
        parts.append("speed not compared: another device, version or timing setting")
    return " ".join(parts)
