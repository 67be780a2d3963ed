"""The sheet a figure is drawn on: title above, caption below, the panels in between.

The caption is wrapped here and its height reserved before anything is drawn, so that no text
can land on another. Figures are built without pyplot: no global state, no display.
"""

import unicodedata
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from PIL import Image

from analysis.drawing.style import Look
from analysis.errors import AnalysisError

CAPTION_POINTS = 8.5
HALO = [withStroke(linewidth=2.5, foreground="white")]
"""Around a text that a line may touch."""
LINE_INCHES = CAPTION_POINTS * 1.45 / 72
MARGIN_INCHES = 0.2
TITLE_INCHES = 0.42
LEGEND_INCHES = 0.26
MAX_BYTES = 600_000
"""A PNG above this is stored with a palette of 256 colours."""


@dataclass(frozen=True)
class Sheet:
    """A figure with its panels, row by row."""

    figure: Figure
    axes: tuple[Axes, ...]


def sheet(
    look: Look,
    *,
    title: str,
    caption: list[str],
    size: tuple[float, float],
    panels: tuple[int, int] = (1, 1),
    with_legend: bool = True,
) -> Sheet:
    """Return a new figure of `panels` (rows, columns) with a title and a wrapped caption."""
    width, height = look.figsize or size
    figure = Figure(figsize=(width, height), dpi=look.dpi)
    FigureCanvasAgg(figure)
    lines = wrap(" ".join(caption) if look.lang == "en" else "".join(caption), width - 0.4)
    bottom = (0.18 + LINE_INCHES * len(lines)) / height
    top = (TITLE_INCHES + (LEGEND_INCHES if with_legend else 0)) / height
    figure.set_layout_engine(
        "constrained",
        rect=(0.01, bottom, 0.98, 1 - bottom - top),
        h_pad=0.08,
        w_pad=0.1,
        hspace=0.05,
        wspace=0.04,
    )
    left = MARGIN_INCHES / width
    top_text = figure.text(left, 1 - 0.12 / height, title, fontsize=13, fontweight="bold")
    top_text.set(va="top", gid="title", in_layout=False)  # its room is in the rectangle above
    below = figure.text(left, 0.1 / height, "\n".join(lines), fontsize=CAPTION_POINTS)
    below.set(va="bottom", gid="caption", color="#404950", linespacing=1.35, in_layout=False)
    axes = figure.subplots(*panels, squeeze=False)
    return Sheet(figure, tuple(axes.flat))


def wrap(text: str, inches: float) -> list[str]:
    """Break a caption into lines of at most this width; Chinese breaks between characters."""
    limit = inches * 72 / (CAPTION_POINTS * 0.57)
    lines, line = [], ""
    for piece in _pieces(text):
        if line and _units(line) + _units(piece.rstrip()) > limit:
            lines.append(line.rstrip())
            line = piece.lstrip()
        else:
            line += piece
    return [*lines, line.rstrip()] if line.strip() else lines


def legend(page: Sheet) -> None:
    """Put one legend for all panels below the title: each label once, in drawing order."""
    entries = [axes.get_legend_handles_labels() for axes in page.figure.axes]
    found = {label: handle for pair in entries for handle, label in zip(*pair, strict=True)}
    if not found:
        return
    width, height = page.figure.get_size_inches()
    place = ((MARGIN_INCHES - 0.05) / width, 1 - (TITLE_INCHES - 0.06) / height)
    # Six entries of 20 characters fill ten inches; more or longer ones are set smaller.
    room = (width - 0.5) * 72 / sum(0.58 * len(name) + 4.6 for name in found)
    page.figure.legend(
        list(found.values()),
        list(found),
        loc="upper left",
        bbox_to_anchor=place,
        ncols=len(found),
        fontsize=min(9.5, room),
        borderpad=0.2,
        columnspacing=1.6,
    ).set_in_layout(False)


def note(axes: Axes, message: str) -> Text:
    """Write a message into the middle of a panel that has nothing to show."""
    axes.set_axis_off()
    place = axes.transAxes
    return axes.text(0.5, 0.5, message, color="#6C757D", ha="center", va="center", transform=place)


def save(figure: Figure, path: Path, look: Look) -> None:
    """Write the figure; a PNG that is too heavy is reduced to 256 colours.

    Raises `AnalysisError` for a place that cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with look.drawing():
            # No date in the file: the same rows give the same bytes.
            metadata = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}
            kind = path.suffix.removeprefix(".")
            figure.savefig(path, dpi=look.dpi, metadata=metadata[kind])
        if path.suffix == ".png" and path.stat().st_size > MAX_BYTES:
            _reduce(path, look.dpi)
    except OSError as error:
        raise AnalysisError(f"cannot write {path}: {error.strerror or error}") from error


def _reduce(path: Path, dpi: int) -> None:
    with Image.open(path) as image:
        small = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    small.save(path, optimize=True, dpi=(dpi, dpi))


def _pieces(text: str) -> list[str]:
    """Split into units that a line may end after: words, or single wide characters."""
    pieces, word = [], ""
    for character in text:
        if _is_wide(character):
            pieces += [word, character] if word else [character]
            word = ""
        else:
            word += character
            if character == " ":
                pieces.append(word)
                word = ""
    return [*pieces, word] if word else pieces


def _units(text: str) -> float:
    return sum(1.8 if _is_wide(character) else 1.0 for character in text)


def _is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in "WF"
