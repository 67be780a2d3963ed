"""What the commands share: which rows they work on, and how those are read."""

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from orchestrator.words import counted

if TYPE_CHECKING:
    import pandas as pd

    from analysis.rows.comparable import Selection
    from orchestrator.store.store import Store

_Command = TypeVar("_Command", bound=Callable[..., Any])


def existing_store_option(command: _Command) -> _Command:
    """`--store`: where the rows are."""
    return click.option(
        "--store",
        "uri",
        default="results",
        show_default=True,
        metavar="URI",
        help="Where the results are: a path, s3://… or gs://….",
    )(command)


def row_options(command: _Command) -> _Command:
    """`--store`, `--device`, `--where`, `--baseline-stride`: which rows."""
    for option in reversed(
        (
            existing_store_option,
            click.option("--device", metavar="NAME", help="Show only what this device measured."),
            click.option(
                "--where",
                "conditions",
                multiple=True,
                metavar="COLUMN=VALUE",
                help="Keep only such rows, as dtype=float16 or window_size>=508; also !=, <, <=, "
                ">, >=, and null for what is missing. Repeatable.",
            ),
            click.option(
                "--baseline-stride",
                "stride",
                type=click.IntRange(min=1),
                default=1,
                show_default=True,
                help="Compare with recompute rows of this stride; other than 1 it is not the "
                "paper's baseline, and every label says so.",
            ),
        )
    ):
        command = option(command)
    return command


def strict_option(command: _Command) -> _Command:
    """`--strict`: no output from numbers that the audit calls unusable."""
    return click.option(
        "--strict",
        is_flag=True,
        help="Refuse (exit code 1) if a number of these rows cannot be used as it stands; "
        "otherwise it is marked and left out of comparisons.",
    )(command)


def format_option(choices: Sequence[str], what: str) -> Callable[[_Command], _Command]:
    """`--format`: how something is printed; plain text unless asked otherwise."""
    return click.option(
        "--format",
        "form",
        type=click.Choice(tuple(choices)),
        default="text",
        show_default=True,
        help=f"How the {what} written.",
    )


def open_store(uri: str) -> "Store":
    """Open a store to read from."""
    from orchestrator.store.store import Store

    return Store(uri)


def read_frame(
    store: "Store", options: dict[str, Any], *, everything: bool = False, partners: bool = False
) -> "pd.DataFrame":
    """Read the rows that `row_options` chose; name damaged files and bad numbers on stderr.

    `partners`: keep the rows that the chosen ones are compared with, whatever the conditions say.
    """
    from analysis.rows import frames
    from analysis.rows.frames import matching

    # A condition may name a column that nothing else needs.
    everything = everything or bool(options["conditions"])
    columns = frames.EVERYTHING if everything else frames.COLUMNS
    frame = frames.load(store, baseline_stride=options["stride"], columns=columns)
    for path, reason in store.damaged:
        click.echo(f"warning: {store.uri}/{path} was skipped: {reason}", err=True)
    kept = matching(frame, options["conditions"])
    if partners and options["conditions"]:
        compared = [*kept["quality_partner"].dropna(), *kept["speed_partner"].dropna()]
        wanted = frame["row_id"].isin([*kept["row_id"], *compared])
        kept = frame[wanted].reset_index(drop=True)
    if "strict" in options:
        tell_unusable(kept, strict=options["strict"])
    return kept


def tell_unusable(frame: "pd.DataFrame", *, strict: bool) -> None:
    """Say once which numbers cannot be used. Raises `AnalysisError` where that is refused."""
    from analysis.errors import AnalysisError
    from analysis.rows.rules import broken_rules

    names = broken_rules(frame)
    if not names:
        return
    affected = frame["quality_unusable"].notna() | frame["speed_unusable"].notna()
    message = (
        f"{affected.sum()} of {counted(len(frame), 'result')} "
        f"{'has' if affected.sum() == 1 else 'have'} numbers that cannot be used "
        f"({', '.join(names)}); `analysis audit` names them"
    )
    if strict:
        raise AnalysisError(f"--strict: {message}")
    warn(f"{message}; they are marked, and left out of every comparison")


def read_selection(store: "Store", options: dict[str, Any]) -> "Selection":
    """Read the rows and choose one comparable group of them."""
    from analysis.rows import comparable

    frame = read_frame(store, options, partners=True)
    return comparable.choose(
        frame, device=options["device"], store=store.uri, stride=options["stride"]
    )


def warn(message: object) -> None:
    """Tell the user something that is not the result."""
    click.echo(f"warning: {message}", err=True)
    sys.stderr.flush()
