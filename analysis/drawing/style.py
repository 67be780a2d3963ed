"""How every figure looks: colours, fonts, sizes, language; nothing about what it shows.

Methods differ by marker, line and hatch as well as by colour, so that a figure keeps its
meaning in greyscale.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import matplotlib as mpl
import seaborn as sns
from matplotlib import font_manager

from analysis.drawing.texts import text
from analysis.names import LANGUAGES
from orchestrator.errors import UsageError

PALETTE: Mapping[str, str] = {
    "baseline": "#2E86AB",
    "streaming": "#A23B72",
    "accent": "#F18F01",
    "success": "#06A77D",
    "neutral": "#6C757D",
}
RED = "#D62728"
"""Of the star on the best point and the X on n_sink = 0."""
DPI = 300
CJK_FAMILIES = (
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "Source Han Sans SC",
    "Source Han Sans CN",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "Microsoft YaHei",
    "SimHei",
    "PingFang SC",
    "Heiti SC",
    "Hiragino Sans GB",
    "Noto Sans CJK JP",
    "AR PL UMing CN",
    "Droid Sans Fallback",
)
LOOKS = {
    "recompute": ("baseline", "--", "s"),
    "streaming": ("streaming", "-", "o"),
    "window": ("accent", "-.", "D"),
    "dense": ("neutral", ":", "^"),
}
"""Colour, line and marker of each method."""


@dataclass(frozen=True)
class Look:
    """The options of a drawing; figures read everything that is not data from here."""

    lang: str = "en"
    dpi: int = DPI
    figsize: tuple[float, float] | None = None
    """Width and height in inches; None: the figure's own."""
    colors: Mapping[str, str] = field(default_factory=lambda: PALETTE)
    published: bool = False
    """Draw the published numbers beside the measured ones."""

    def text(self, key: str, **values: object) -> str:
        """Return a text of `analysis.drawing.texts` in this look's language."""
        return text(key, self.lang, **values)

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Set matplotlib up for this look; figures are drawn and saved inside."""
        # A CJK font in one weight only is no news to the user.
        logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
        with mpl.rc_context(self._rc()):
            yield

    def _rc(self) -> Any:  # matplotlib types the keys as a Literal that no dict display meets
        return {
            **sns.axes_style("whitegrid"),
            **sns.plotting_context("paper", font_scale=1.1),
            "font.family": "sans-serif",
            "font.sans-serif": font_families(self.lang),
            "axes.unicode_minus": False,
            "axes.edgecolor": "#B0B7BD",
            "axes.titlesize": 11,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "grid.color": "#E6E9EC",
            "grid.linewidth": 0.7,
            "hatch.linewidth": 0.8,
            "legend.frameon": False,
            "svg.hashsalt": "sinksweep",  # the same figure is the same file
        }


def font_families(lang: str) -> list[str]:
    """Return the fonts to try, the first that is installed for the language in front.

    Raises `UsageError` when Chinese is asked for and no installed font can show it: boxes
    instead of characters would only be noticed in print.
    """
    if lang == "en":
        return ["DejaVu Sans"]
    installed = {font.name for font in font_manager.fontManager.ttflist}
    found = [name for name in CJK_FAMILIES if name in installed]
    if not found:
        raise UsageError(
            "--lang zh needs a Chinese font and none is installed; install one "
            f"(Debian: apt-get install fonts-noto-cjk) or use --lang en; looked for: "
            f"{', '.join(CJK_FAMILIES)}"
        )
    return [found[0], "DejaVu Sans"]


def parse_colors(pairs: tuple[str, ...]) -> dict[str, str]:
    """Return the palette with `key=#hex` changes applied."""
    return {**PALETTE, **dict(_parse_color(pair) for pair in pairs)}


def parse_figsize(value: str | None) -> tuple[float, float] | None:
    """Turn `WxH` in inches into two numbers."""
    if value is None:
        return None
    try:
        width, height = (float(part) for part in value.lower().split("x"))
    except ValueError:
        raise UsageError(f"--figsize must be WxH in inches, like 10x7, got {value!r}") from None
    if not (2 <= width <= 60 and 2 <= height <= 60):
        raise UsageError(f"--figsize must be 2 to 60 inches each way, got {value!r}")
    return width, height


def _parse_color(pair: str) -> tuple[str, str]:
    key, _, color = pair.partition("=")
    digits = color.removeprefix("#")
    is_hex = len(digits) == 6 and all(digit in "0123456789abcdefABCDEF" for digit in digits)
    if key not in PALETTE or not color.startswith("#") or not is_hex:
        keys = ", ".join(PALETTE)
        raise UsageError(f"--color must be key=#rrggbb with a key of {keys}, got {pair!r}")
    return key, color


assert LANGUAGES == ("en", "zh"), "font_families knows these languages"
