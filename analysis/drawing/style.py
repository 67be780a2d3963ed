"""How every figure looks: width, type, colours, fonts, language; nothing about what it shows.

Methods differ by marker, line and hatch as well as by colour, so that a figure keeps its
meaning in greyscale.
"""

import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any

import matplotlib as mpl

from analysis.drawing.page.fonts import families
from analysis.drawing.texts import text
from analysis.names import STYLES, WIDTHS
from orchestrator.errors import UsageError

PALETTE: Mapping[str, str] = {
    "baseline": "#2E86AB",
    "streaming": "#A23B72",
    "accent": "#F18F01",
    "success": "#06A77D",
    "neutral": "#6C757D",
}
ON_DARK: Mapping[str, str] = {
    "baseline": "#58B4DB",
    "streaming": "#E27BB1",
    "accent": "#F8A93C",
    "success": "#3CCBA0",
    "neutral": "#A3ADB5",
}
"""The same hues, light enough for a dark ground."""
HUES = (
    "#2E86AB",
    "#A23B72",
    "#F18F01",
    "#06A77D",
    "#5B4FA2",
    "#8C564B",
    "#6C757D",
    "#B5A300",
    "#D62728",
    "#17BECF",
    "#1B3A6B",
    "#E58FB1",
)
"""Of the values that `--hue` tells apart, in their order."""
DPI = 300
WIDEST = 60.0
NARROWEST = 2.0
MAX_PIXELS = 120e6
"""Of one picture: 480 MB of memory while it is drawn."""
LOOKS = {
    "recompute": ("baseline", "--", "s"),
    "streaming": ("streaming", "-", "o"),
    "window": ("accent", "-.", "D"),
    "dense": ("neutral", ":", "^"),
}
"""Colour, line and marker of each method."""


@dataclass(frozen=True)
class Ground:
    """The colours of everything that is not data."""

    paper: str
    panel: str
    ink: str
    quiet: str
    rim: str
    grid: str
    red: str
    """Of the star on the best point and the X on n_sink = 0."""


GROUNDS: Mapping[str, Ground] = {
    "paper": Ground("#FFFFFF", "#FFFFFF", "#22272B", "#4A535B", "#B0B7BD", "#E6E9EC", "#D62728"),
    "screen": Ground("#F4F6F8", "#FFFFFF", "#22272B", "#4A535B", "#B0B7BD", "#E6E9EC", "#D62728"),
    "dark": Ground("#14181C", "#1B2126", "#E9EDF0", "#B4BDC5", "#56616A", "#2C343B", "#FF6B6B"),
}
RED = GROUNDS["paper"].red


@dataclass(frozen=True)
class Type:
    """Sizes in points: letters 6 to 8 in print, larger where a page is read from afar."""

    title: float
    panel: float
    label: float
    tick: float
    value: float
    caption: float
    marker: float
    line: float
    panel_height: float
    """Usual height of a panel, in inches."""
    panel_width: float
    """Panels stand side by side from this width on, in inches."""
    facet_width: float
    """What one of many facets takes at least, in inches."""
    tallest: float
    """Inches of panels above each other that a page holds; more facets make them lower."""


PRINT = Type(8, 7.5, 7, 6.5, 6, 6, 4.5, 1.2, 1.5, 2.3, 1.3, 7.5)
SLIDE = Type(13, 11, 10, 9.2, 8.6, 8.5, 7.5, 1.8, 2.5, 3.2, 2.0, 9.0)
CROWDED = 2
"""With more facets than that, marks are smaller and lines thinner."""
SLIDE_FROM = 8.0
"""Width in inches from which a figure is set in the larger type."""
PAGE = 10.0
"""Inches that a figure on paper may be high."""


@dataclass(frozen=True)
class Look:
    """The options of a drawing; figures read everything that is not data from here."""

    lang: str = "en"
    dpi: int = DPI
    figsize: tuple[float, float] | None = None
    """Width and height in inches; None: `width`, and the height that the panels need."""
    colors: Mapping[str, str] = field(default_factory=lambda: PALETTE)
    published: bool = False
    """Draw the published numbers beside the measured ones."""
    width: float = WIDTHS["slide"]
    """In inches."""
    style: str = "paper"
    font: str | None = None
    """A font to prefer; others stand in for the letters that it lacks."""
    with_title: bool = True
    with_caption: bool = True
    prefix: str = ""
    """Before every name in the legend: what `--hue` tells apart."""
    facets: int = 1
    """How many groups share the page."""

    @property
    def inches(self) -> float:
        """The width of the figure."""
        return self.figsize[0] if self.figsize else self.width

    @property
    def is_print(self) -> bool:
        """Whether the figure is set for paper."""
        return self.inches < SLIDE_FROM

    @property
    def highest(self) -> float:
        """Inches that the figure may be high; infinite on a screen, or where the user says them."""
        return PAGE if self.is_print and not self.figsize else math.inf

    @property
    def type(self) -> Type:
        """The sizes of letters and marks at this width."""
        usual = PRINT if self.is_print else SLIDE
        if self.facets <= CROWDED:
            return usual
        return replace(usual, marker=0.65 * usual.marker, line=0.75 * usual.line)

    @property
    def ground(self) -> Ground:
        """The colours of everything that is not data."""
        return GROUNDS[self.style]

    def text(self, key: str, **values: object) -> str:
        """Return a text of `analysis.drawing.texts` in this look's language."""
        return text(key, self.lang, **values)

    def name(self, key: str, **values: object) -> str:
        """Return the text of a legend's entry."""
        return self.prefix + self.text(key, **values)

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Set matplotlib up for this look; figures are drawn and saved inside."""
        # A CJK font in one weight only is no news to the user.
        logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
        with mpl.rc_context():
            mpl.rcdefaults()  # not what a user's file or a notebook has set
            mpl.rcParams.update(self._rc())
            yield

    def _rc(self) -> Any:  # matplotlib types the keys as a Literal that no dict display meets
        ground, sizes = self.ground, self.type
        return {
            "font.family": families(self.lang, self.font),
            "font.size": sizes.label,
            "axes.axisbelow": True,
            "axes.edgecolor": ground.rim,
            "axes.facecolor": ground.panel,
            "axes.grid": True,
            "axes.labelcolor": ground.ink,
            "axes.labelpad": 2.5,
            "axes.labelsize": sizes.label,
            "axes.linewidth": 0.8,
            "axes.titlecolor": ground.ink,
            "axes.titlelocation": "left",
            "axes.titlepad": 1 + sizes.tick * 0.62,  # above half a label at the top of the axis
            "axes.titlesize": sizes.panel,
            "axes.titleweight": "bold",
            "figure.facecolor": ground.paper,
            "grid.color": ground.grid,
            "grid.linewidth": 0.7,
            "hatch.linewidth": 0.8,
            "legend.fontsize": sizes.tick,
            "legend.frameon": False,
            "legend.labelcolor": ground.ink,
            "lines.linewidth": sizes.line,
            "lines.markersize": sizes.marker,
            "pdf.fonttype": 42,  # real letters, not drawings of them: journals ask for it
            "ps.fonttype": 42,
            "savefig.facecolor": ground.paper,
            "svg.fonttype": "none",  # text stays text
            "svg.hashsalt": "sinksweep",  # the same figure is the same file
            "text.color": ground.ink,
            "text.parse_math": False,  # a dollar in a name is a dollar
            "text.hinting": "none",  # letters keep their widths at every resolution
            "xtick.color": ground.rim,
            "xtick.labelcolor": ground.ink,
            "xtick.labelsize": sizes.tick,
            "xtick.major.size": 2.5,
            "ytick.color": ground.rim,
            "ytick.labelcolor": ground.ink,
            "ytick.labelsize": sizes.tick,
            "ytick.major.size": 2.5,
        }


def parse_colors(pairs: tuple[str, ...], style: str = "paper") -> dict[str, str]:
    """Return the palette of a style with `key=#hex` changes applied."""
    palette = dict(ON_DARK if style == "dark" else PALETTE)
    for pair in pairs:
        key, _, color = pair.partition("=")
        digits = color.removeprefix("#")
        is_hex = len(digits) == 6 and all(digit in "0123456789abcdefABCDEF" for digit in digits)
        if key not in PALETTE or not color.startswith("#") or not is_hex:
            keys, close = ", ".join(PALETTE), get_close_matches(key, PALETTE, 1)
            hint = f"; did you mean {close[0]}?" if close and key not in PALETTE else ""
            raise UsageError(
                f"--color must be key=#rrggbb with a key of {keys}, got {pair!r}{hint}"
            )
        palette[key] = color
    return palette


def parse_width(value: str) -> float:
    """Turn `column`, `text`, `page`, `slide` or a number of inches into inches."""
    if value in WIDTHS:
        return WIDTHS[value]
    names = ", ".join(f"{name} ({inches:g} in)" for name, inches in WIDTHS.items())
    try:
        inches = float(value)
    except ValueError:
        hint = get_close_matches(value, WIDTHS, 1)
        meant = f"; did you mean {hint[0]}?" if hint else ""
        raise UsageError(
            f"--width must be {names} or a number of inches, got {value!r}{meant}"
        ) from None
    if not NARROWEST <= inches <= WIDEST:
        raise UsageError(f"--width must be {NARROWEST:g} to {WIDEST:g} inches, got {value!r}")
    return inches


def parse_figsize(value: str | None) -> tuple[float, float] | None:
    """Turn `WxH` in inches into two numbers."""
    if value is None:
        return None
    try:
        width, height = (float(part) for part in value.lower().split("x"))
    except ValueError:
        raise UsageError(f"--figsize must be WxH in inches, like 10x7, got {value!r}") from None
    if not (NARROWEST <= width <= WIDEST and NARROWEST <= height <= WIDEST):
        raise UsageError(f"--figsize must be 2 to 60 inches each way, got {value!r}")
    return width, height


assert tuple(GROUNDS) == STYLES, "analysis.names lists the styles for the command line"
