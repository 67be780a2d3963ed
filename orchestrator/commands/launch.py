"""`sweep launch`: run what is missing of a grid."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from orchestrator.commands.options import (
    echo_json,
    grid_options,
    json_option,
    launch_options,
    read_grid,
    store_option,
)
from orchestrator.words import counted

if TYPE_CHECKING:
    from orchestrator.progress.snapshot import Listener, Snapshot

CAUSES_SHOWN = 20
"""Causes of failures that the summary names; `sweep status` has them all."""


@click.command()
@grid_options
@store_option
@click.option("--local", is_flag=True, help="Start Ray on this machine only.")
@click.option("--address", metavar="ADDR", help="Use this Ray cluster, for example auto.")
@click.option("--inline", is_flag=True, help="Run in this process, without Ray.")
@launch_options
@json_option
def launch(store_uri: str, as_json: bool, **options: Any) -> None:
    """Run every evaluation of a grid that is not in the store yet.

    Rows are committed as they arrive; the same command continues an interrupted launch. Without
    --local, --address or --inline the cluster in RAY_ADDRESS is used, or a running one, else
    this machine. File paths in a grid are relative to the working directory.
    """
    grid = read_grid(options)

    from orchestrator.commands.plan import total_line
    from orchestrator.driver.loop import LaunchOptions  # pyarrow: after a wrong grid has been told
    from orchestrator.launch import Where, launch_sweep
    from orchestrator.reports.plan import make_plan
    from orchestrator.store.store import Store

    where = Where(**{name: options.pop(name) for name in ("local", "address", "inline")})
    store = Store(store_uri)
    # What the store and the limits tell: reading every text is what `sweep plan` is for.
    if not (options["remeasure"] or options["remeasure_disturbed"]):  # a plan is of what is missing
        click.echo(total_line(make_plan(grid, store, read_texts=False)), err=True)
    with _listener(options.pop("notify")) as listener:
        skip_failed = not options.pop("retry_failed")
        how = LaunchOptions(skip_failed=skip_failed, **options)
        summary = launch_sweep(grid, store, where, how, listener)
    if as_json:
        echo_json({**summary.ending(), "store": store_uri})
    else:
        click.echo(describe_launch(summary, store_uri))
    for path, reason in store.damaged:
        click.echo(f"warning: damaged file left out: {path}: {reason}", err=True)
    click.get_current_context().exit(summary.exit_code)


@contextmanager
def _listener(notify_url: str | None) -> Iterator["Listener"]:
    """Yield the display, posting to a URL if there is one, and put both away at the end."""
    from orchestrator.progress.display import progress_for
    from orchestrator.progress.notify import Notifier

    with ExitStack() as stack:
        if notify_url is None:
            yield stack.enter_context(closing(progress_for()))
        else:
            Notifier.check(notify_url)
            display = stack.enter_context(closing(progress_for()))
            yield stack.enter_context(closing(Notifier(notify_url, display)))


def describe_launch(summary: "Snapshot", store_uri: str) -> str:
    """Return the end of a launch as lines of text."""
    from orchestrator.progress.causes import grouped
    from orchestrator.progress.display import duration

    counts = {
        "done before": summary.done_before,
        "done by other drivers": summary.done_elsewhere,
        "failed": summary.failed,
        "skipped": summary.skipped,
        "not run": summary.not_run,
    }
    told = ", ".join([f"{summary.ok} run now", *(f"{n} {what}" for what, n in counts.items() if n)])
    lines = [
        f"{summary.sweep}: {summary.done} of {counted(summary.total, 'evaluation')} "
        f"{'is' if summary.total == 1 else 'are'} in {store_uri} "
        f"({told}) after {duration(summary.seconds)}"
    ]
    lines += [f"  {note}" for note in summary.notes]
    causes = grouped(summary.failures)
    lines += [f"  {line}" for cause in causes[:CAUSES_SHOWN] for line in cause.lines()]
    if len(causes) > CAUSES_SHOWN:
        more = len(causes) - CAUSES_SHOWN
        lines.append(f"  and {more} more causes: sweep status --store {quote(store_uri)}")
    if summary.interrupted:
        lines.append("  interrupted: the same command continues from here")
    elif summary.done:
        lines.append(f"  figures: analysis plot --store {quote(store_uri)}")
    return "\n".join(lines)
