"""`analysis plot`: figures from a store."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from analysis.commands.options import (
    open_store,
    read_selection,
    row_options,
    strict_option,
    warn,
)
from analysis.names import FIGURES, IMAGE_FORMATS, LANGUAGES

if TYPE_CHECKING:
    from analysis.drawing.style import Look
    from analysis.figures.registry import Drawn


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
@click.option("--figsize", metavar="WxH", help="Size in inches, such as 10x7.")
def plot(
    out: Path | None,
    names: tuple[str, ...],
    image_format: str,
    **options: Any,
) -> None:
    """Draw the figures of a store.

    A figure that lacks rows is named, with the command that makes them; the others are drawn.
    Exit code 1: nothing could be drawn, or a figure that was asked for could not.
    """
    from analysis.figures.registry import draw_all

    look = _look(options)
    store = open_store(options["uri"])
    chosen = read_selection(store, options)
    if look.published:
        _warn_if_unpublished(str(chosen.setting["model"]))
    folder = out or _default_folder(store.storage.local_root)

    def target(name: str) -> Path:
        return folder / f"{name}.{image_format}"

    drawn = list(draw_all(store, chosen, names or FIGURES, target, look))
    for one in drawn:
        _tell(one)
    if not all(one.path for one in drawn) and (names or not any(one.path for one in drawn)):
        raise SystemExit(1)


def _look(options: dict[str, Any]) -> "Look":
    from analysis.drawing.style import Look, font_families, parse_colors, parse_figsize

    font_families(options["lang"])  # says so before any row is read if there is no font
    return Look(
        lang=options["lang"],
        dpi=options["dpi"],
        figsize=parse_figsize(options["figsize"]),
        colors=parse_colors(options["colors"]),
        published=options["published"],
    )


def _warn_if_unpublished(model: str) -> None:
    from analysis.drawing import published

    if published.base_name(model) not in published.models():
        known = ", ".join(published.models())
        warn(f"--published: nothing is known for {model}; there are numbers for {known}")


def _default_folder(local_root: Path | None) -> Path:
    return (local_root or Path("results")) / "figures"


def _tell(drawn: "Drawn") -> None:
    if drawn.path:
        click.echo(drawn.path)
    for missing in drawn.missing:
        warn(f"{drawn.name}: {missing}")
