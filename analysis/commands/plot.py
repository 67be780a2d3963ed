"""`analysis plot`: figures from a store."""

import re
import shlex
from dataclasses import dataclass
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from analysis.commands import facets
from analysis.commands.options import (
    open_store,
    read_frame,
    row_options,
    strict_option,
    warn,
)
from analysis.names import FACETS, FIGURES, IMAGE_FORMATS, LANGUAGES, STYLES

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from analysis.drawing.style import Look
    from analysis.figures.registry import Drawn
    from orchestrator.store.store import Store


@click.command()
@row_options
@strict_option
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the figures. Default: STORE/figures, or ./results/figures for a remote store.",
)
@click.option(
    "--figure",
    "names",
    multiple=True,
    type=click.Choice(FIGURES),
    help="Draw only this figure. Repeatable. Default: all.",
)
@click.option(
    "--dpi", type=click.IntRange(50, 1200), default=300, show_default=True, help="Dots per inch."
)
@click.option(
    "--format",
    "image_format",
    type=click.Choice(IMAGE_FORMATS),
    default="png",
    show_default=True,
    help="Kind of file.",
)
@click.option(
    "--lang",
    type=click.Choice(LANGUAGES),
    default="en",
    show_default=True,
    help="Language of the figures; zh needs an installed Chinese font.",
)
@click.option(
    "--color",
    "colors",
    multiple=True,
    metavar="KEY=#HEX",
    help="Change a colour: baseline, streaming, accent, success or neutral. Repeatable.",
)
@click.option(
    "--published",
    is_flag=True,
    help="Draw published numbers of the same model beside the measured ones.",
)
@click.option(
    "--width",
    metavar="column|text|page|slide|INCHES",
    default="slide",
    show_default=True,
    help="Width of the figures: 3.3, 5.5, 6.9, 10 or any number of inches; letters of 6 to 8 "
    "points in print, larger on a slide. The layout and the height follow.",
)
@click.option("--figsize", metavar="WxH", help="Width and height in inches, such as 10x7.")
@click.option(
    "--style",
    type=click.Choice(STYLES),
    default="paper",
    show_default=True,
    help="Ground of the figures.",
)
@click.option("--font", metavar="NAME", help="An installed font to set the texts in.")
@click.option(
    "--facet",
    type=click.Choice(FACETS),
    help="Draw a group of panels for each model, text, device or dtype. Default: for each model "
    "(else dtype, device) that has compared results.",
)
@click.option(
    "--hue",
    type=click.Choice(FACETS),
    help="Draw them into the same panels instead, told apart by colour; main_comparison and "
    "results_summary keep facets.",
)
@click.option(
    "--each",
    type=click.Choice(FACETS),
    help="Draw every figure once for each of them, into files of its own.",
)
@click.option("--no-title", is_flag=True, help="Leave out the title.")
@click.option("--no-caption", is_flag=True, help="Leave out the caption.")
def plot(
    out: Path | None,
    names: tuple[str, ...],
    image_format: str,
    **options: Any,
) -> None:
    """Draw the figures of a store.

    A figure that lacks rows is named, with the command that makes them; one that does not fit
    the width, with a width that would do; the others are drawn.
    Exit code 1: nothing could be drawn, or a figure that was asked for, or did not fit, could not.
    """
    from analysis.rows.comparable import on_device

    look = _look(options)
    store = open_store(options["uri"])
    frame = on_device(read_frame(store, options, partners=True), options["device"])
    folder = out or (store.storage.local_root or Path("results")) / "figures"
    run = Run(store, names or FIGURES, folder, image_format, look)
    drawn = list(_draw(run, frame, options))
    _explain(run, drawn, frame)
    lacking = not all(one.path for one in drawn) and (names or not any(d.path for d in drawn))
    if lacking or any(one.refused for one in drawn):
        raise SystemExit(1)


@dataclass(frozen=True)
class Run:
    """What one call draws, and where to."""

    store: "Store"
    names: tuple[str, ...]
    folder: Path
    image_format: str
    look: "Look"

    def target(self, name: str, suffix: str) -> Path:
        """Return the file of a figure."""
        return self.folder / f"{name}{suffix}.{self.image_format}"


def _draw(run: Run, frame: "pd.DataFrame", options: dict[str, Any]) -> "Iterator[Drawn]":
    """Draw everything once, or once for each value of `--each`."""
    from analysis.rows.comparable import FACETS

    by = options["each"]
    if by is None or frame.empty:
        yield from _draw_once(run, frame, options, "")
        return
    taken: set[str] = set()
    for value, part in frame.groupby(FACETS[by], sort=True):
        # A name as a part of a file's name: short enough, and no other's.
        safe = "-" + re.sub(r"[^\w.+-]+", "-", str(value)).strip("-")[:60]
        numbered = (f"{safe}-{number}" for number in count(2))
        suffix = next(one for one in chain([safe], numbered) if one.casefold() not in taken)
        taken.add(suffix.casefold())
        yield from _draw_once(run, part.reset_index(drop=True), options, suffix)


def _draw_once(
    run: Run, frame: "pd.DataFrame", options: dict[str, Any], suffix: str
) -> "Iterator[Drawn]":
    from analysis.figures.registry import draw_all
    from analysis.outputs.folder import size
    from analysis.rows import published

    groups = facets.groups(frame, options, run.store.uri)
    models = sorted({str(group.setting["model"]) for group in groups.values()})
    known = published.models()
    if run.look.published and not any(published.base_name(model) in known for model in models):
        warn(
            f"--published: nothing is known for {', '.join(models)}; "
            f"there are numbers for {', '.join(known)}"
        )
    for note in facets.notes_left_out(frame, groups, options):
        warn(note)
    target, hue = partial(run.target, suffix=suffix), options["hue"] is not None
    for one in draw_all(run.store, groups, run.names, target, run.look, hue=hue):
        if one.path:
            click.echo(f"{one.path}  {size(one.path)}")
        for problem in one.missing:
            warn(f"{one.name}: {problem}")
        if one.refused or one.inches > run.look.highest:
            why = one.refused or f"{one.inches:.1f} inches are higher than a page"
            alone = facets.one_by_one(frame, options) if len(groups) > 1 else ""
            warn(f"{one.name}: {why}{alone}")
        yield one


def _look(options: dict[str, Any]) -> "Look":
    from analysis.drawing.page.fonts import families
    from analysis.drawing.style import Look, parse_colors, parse_figsize, parse_width

    families(options["lang"], options["font"])  # says so before any row is read if there is none
    return Look(
        lang=options["lang"],
        dpi=options["dpi"],
        figsize=parse_figsize(options["figsize"]),
        colors=parse_colors(options["colors"], options["style"]),
        published=options["published"],
        width=parse_width(options["width"]),
        style=options["style"],
        font=options["font"],
        with_title=not options["no_title"],
        with_caption=not options["no_caption"],
    )


def _explain(run: Run, drawn: "list[Drawn]", frame: "pd.DataFrame") -> None:
    """Write beside the pictures what they show and how they are made again."""
    from analysis.outputs import folder

    # The command that draws one figure as this call did.
    context = click.get_current_context()
    words = ["analysis", "plot"]
    for option in context.command.params:
        value = context.params.get(str(option.name))
        given = context.get_parameter_source(str(option.name)) == ParameterSource.COMMANDLINE
        if not given or option.name == "names":
            continue
        for one in value if isinstance(value, tuple) else (value,):
            words += [option.opts[0]] if one is True else [option.opts[0], str(one)]
    # Few of many rows: looked up once.
    frame = frame[frame["row_id"].isin({row_id for one in drawn for row_id in one.row_ids})]
    entries = [
        folder.SavedFigure(
            path=one.path,
            title=one.title,
            caption=one.caption,
            command=shlex.join([*words, "--figure", one.name]),
            rows=frame[frame["row_id"].isin(one.row_ids)],
        )
        for one in drawn
        if one.path
    ]
    for path in folder.explain(entries, run.folder) if entries else ():
        click.echo(f"{path}  {folder.size(path)}")
