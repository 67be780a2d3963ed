"""What the commands share: options that mean the same everywhere, and how errors are told.

Nothing here imports torch, ray, pyarrow or pandas, so `sweep --help` answers at once.
"""

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from orchestrator.errors import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    GridError,
    OrchestratorError,
)
from workers.contract.errors import SinkSweepError, SpecError

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep

_Command = TypeVar("_Command", bound=Callable[..., Any])


class SweepGroup(click.Group):
    """A group that turns errors a user can act on into lines on stderr and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except SinkSweepError as error:
            # The places of a grid's problems stay at the start of their lines, as editors want it.
            click.echo(error if isinstance(error, GridError) else f"Error: {error}", err=True)
            ctx.exit(exit_code(error))
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(EXIT_INTERRUPTED)


def add_with_example(
    group: click.Group, command: click.Command, examples: Mapping[str, str]
) -> None:
    """Add a command whose help ends with its example; a `KeyError` if it has none."""
    command.epilog = f"\b\nExample: {examples[str(command.name)]}"
    group.add_command(command)


def exit_code(error: SinkSweepError) -> int:
    """Return what the process ends with after an error."""
    if isinstance(error, OrchestratorError):
        return error.exit_code
    return EXIT_USAGE if isinstance(error, SpecError) else EXIT_FAILED


def grid_options(command: _Command) -> _Command:
    """`--grid`, `--set` and `--yes`: which evaluations."""
    for option in reversed(
        (
            click.option(
                "--grid",
                required=True,
                metavar="FILE_OR_NAME",
                help="A grid file, or the name of a built-in grid such as quickstart.",
            ),
            click.option(
                "--set",
                "overrides",
                multiple=True,
                metavar="KEY=VALUE",
                help="Change the grid: a field for every evaluation, resources.gpus, sweep. "
                "Repeatable.",
            ),
            click.option("--yes", is_flag=True, help="Accept a grid of more than a million."),
        )
    ):
        command = option(command)
    return command


def read_grid(options: dict[str, Any]) -> "Sweep":
    """Take the values of `grid_options` out of a command's options and expand the grid."""
    from orchestrator.grid.load import load_grid  # pydantic and hashing: not for --help

    overrides, confirmed = options.pop("overrides"), options.pop("yes")
    return load_grid(options.pop("grid"), overrides=overrides, confirm_large=confirmed)


def launch_options(command: _Command) -> _Command:
    """`--limit` to `--notify`: how a launch goes about it."""
    for option in reversed(
        (
            click.option(
                "--limit",
                type=click.IntRange(min=1),
                metavar="N",
                help="Run at most this many evaluations.",
            ),
            click.option(
                "--max-attempts",
                type=click.IntRange(min=1),
                metavar="N",
                default=3,
                show_default=True,
                help="Attempts per evaluation.",
            ),
            click.option("--fail-fast", is_flag=True, help="Stop at the first failed evaluation."),
            click.option(
                "--retry-failed/--skip-failed",
                default=True,
                show_default=True,
                help="Run evaluations again that failed in an earlier launch.",
            ),
            click.option("--remeasure", is_flag=True, help="Run evaluations again that are done."),
            click.option(
                "--remeasure-disturbed",
                is_flag=True,
                help="Run only what is done and was disturbed while it was timed.",
            ),
            click.option(
                "--notify",
                metavar="URL",
                help="POST one JSON message at the first failure, else at the end.",
            ),
        )
    ):
        command = option(command)
    return command


def store_option(command: _Command) -> _Command:
    """`--store`: where the rows are."""
    return click.option(
        "--store",
        "store_uri",
        default="results",
        show_default=True,
        metavar="URI",
        help="The result store: a path, s3://BUCKET/PATH or gs://BUCKET/PATH.",
    )(command)


def cluster_option(command: _Command) -> _Command:
    """`--cluster`: the store lies on the head of a cluster, and the command runs there."""
    return click.option(
        "--cluster",
        metavar="FILE",
        help="Run on the head of the cluster that `ray up FILE` started; --store is a path there, "
        "relative to its checkout, or a URI.",
    )(command)


def run_on_head(cluster: str, store_uri: str, *options: str) -> None:
    """Run the current command on a cluster's head, and end with its exit code."""
    from orchestrator.cluster.head import Head  # yaml: not for --help

    head, context = Head(cluster), click.get_current_context()
    store = ["--store", head.file.store_on_head(store_uri)]
    context.exit(head.run([str(context.info_name), *store, *options]))


def json_option(command: _Command) -> _Command:
    """`--json`: for programs."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON object on standard output."
    )(command)


def echo_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object; dates and paths as text."""
    click.echo(json.dumps(value, indent=2, default=str, allow_nan=False))
