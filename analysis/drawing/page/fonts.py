"""Which font shows a text, how wide it comes out, and where its lines break.

Widths are measured, never guessed: a layout that counts letters is wrong for every name that is
not English.
"""

import unicodedata
import warnings
from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache, lru_cache

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontEntry, FontProperties
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter

from orchestrator.errors import UsageError

BASE = "DejaVu Sans"
"""Comes with matplotlib: the same letters on every machine."""
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
CLOSING = "、。，．：；？！）」』】》〉〕”’…—％)]},.;:!?%"  # noqa: RUF001
"""No line begins with one of these."""
OPENING = "（「『【《〈〔“‘([{"  # noqa: RUF001
"""No line ends with one of these."""
BREAKS = "-_/.:#"
"""A long name may be broken after one of these."""
MISSING_GLYPH = r"Glyph \d+ .* missing from"
"""What matplotlib says about every letter that is measured; `replace_missing` says it once."""
REPLACEMENT = "\ufffd"
"""Stands for a letter that no installed font has."""
PACKAGES = {
    "CJK": "fonts-noto-cjk",
    "HANGUL": "fonts-noto-cjk",
    "HIRAGANA": "fonts-noto-cjk",
    "KATAKANA": "fonts-noto-cjk",
    "FACE": "fonts-symbola",
}
"""Debian packages of fonts, by a word in a letter's name; others are in fonts-noto-core."""
PRECISION = 4
"""Texts are measured at this many pixels per point."""
RENDERER = RendererAgg(1, 1, 72 * PRECISION)  # type: ignore[no-untyped-call]
"""Measures texts; nothing is drawn on it."""


def families(lang: str, font: str | None = None) -> list[str]:
    """Return the fonts to try, the preferred one in front.

    Raises `UsageError` for a font that is not installed, and when Chinese is asked for and no
    installed font can show it: boxes instead of characters would only be noticed in print.
    """
    chosen = [font, BASE] if font and font != BASE else [BASE]
    if font and not _installed((font,)):
        names = {entry.name for entry in font_manager.fontManager.ttflist}
        close = get_close_matches(font, names, 3, 0.4) or sorted(names)[:8]
        raise UsageError(f"--font: {font!r} is not installed; did you mean {', '.join(close)}?")
    if lang == "en":
        return chosen
    found = _installed(CJK_FAMILIES)
    if not found:
        raise UsageError(
            "--lang zh needs a Chinese font and none is installed; install one "
            f"(Debian: apt-get install fonts-noto-cjk) or use --lang en; looked for: "
            f"{', '.join(CJK_FAMILIES)}"
        )
    return [font, found, BASE] if font else [found, BASE]


def covering(texts: Iterable[str], chosen: list[str]) -> list[str]:
    """Return the chosen fonts and, behind them, others for the letters that they lack."""
    lacking = {letter for text in texts for letter in text if letter.isprintable()}
    for name in chosen:
        entry = _entry(name)
        lacking -= _letters(entry) if entry else set()
    if not lacking:
        return chosen
    _refresh()
    chain = list(chosen)
    usual = {name: place for place, name in enumerate(CJK_FAMILIES)}
    plain = (e for e in font_manager.fontManager.ttflist if e.style == "normal")
    order = sorted(plain, key=lambda e: (usual.get(e.name, len(usual)), e.name, e.fname))
    for entry in order:
        if lacking and entry.name not in chain and (found := lacking & _letters(entry)):
            chain.append(entry.name)
            lacking -= found
    return chain


def replace_missing(figure: Figure) -> None:
    """Replace the letters that no installed font has, and say once which font would have them.

    A box would look like a letter of the name.
    """
    texts = [text for text in figure.findobj(Text) if text.get_text().strip()]
    wanted = {letter for text in texts for letter in text.get_text() if letter.isprintable()}
    for name in mpl.rcParams["font.family"]:
        entry = _entry(name)
        wanted -= _letters(entry) if entry else set()
    if not wanted:
        return
    table = {ord(letter): REPLACEMENT for letter in wanted}
    for text in texts:
        text.set_text(text.get_text().translate(table))
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        formatter = axis.get_major_formatter()
        if isinstance(formatter, FuncFormatter):  # writes its names anew at every draw
            formatter.func = lambda *at, write=formatter.func: write(*at).translate(table)
    _say_missing(min(wanted))


@cache
def _say_missing(letter: str) -> None:
    name = unicodedata.name(letter, "a letter without a name")
    package = next((p for word, p in PACKAGES.items() if word in name), "fonts-noto-core")
    warnings.warn(
        f"no installed font has {letter!r} ({name}): {REPLACEMENT} stands for it in figures; "
        f"install one, for example with: apt-get install {package}",
        stacklevel=2,
    )


def width(text: str, points: float, *, bold: bool = False) -> float:
    """Return the width in inches of one line, in the fonts of the current drawing."""
    fonts = tuple(mpl.rcParams["font.family"])
    return _width(text, round(points, 2), "bold" if bold else "normal", fonts)


@lru_cache(maxsize=20_000)
def _width(text: str, points: float, weight: str, fonts: tuple[str, ...]) -> float:
    letters = FontProperties(family=list(fonts), size=points, weight=weight)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=MISSING_GLYPH)
        pixels, _, _ = RENDERER.get_text_width_height_descent(text, letters, False)  # type: ignore[no-untyped-call]
    return float(pixels) / (72 * PRECISION)


def wrap(text: str, inches: float, points: float, *, bold: bool = False) -> list[str]:
    """Break a text into lines of at most this width; Chinese breaks between characters.

    A word that is too long for a line is broken behind `-`, `_`, `/`, `.` or, failing those,
    anywhere.
    """
    # A space at the end of a line has no ink and would be measured as nothing.
    space = width("x x", points, bold=bold) - 2 * width("x", points, bold=bold)
    lines: list[str] = []
    line, used = "", 0.0
    for piece in _pieces(text):
        for part in _parts(piece, inches, points, bold):
            wide = width(part.rstrip(), points, bold=bold)
            if line and used + wide > inches:
                lines.append(line.rstrip())
                line, used = "", 0.0
            line += part if line else part.lstrip()
            spaces = len(part) - len(part.rstrip())
            used += wide + spaces * space
    return [*lines, line.rstrip()] if line.strip() else lines


def shorten(name: str, inches: float, points: float, lines: int) -> list[str]:
    """Wrap a name into at most so many lines, leaving out its middle if need be."""
    wrapped = wrap(name, inches, points)
    kept = len(name)
    while len(wrapped) > lines and kept > 4:
        kept = min(kept - 1, int(kept * 0.94))
        wrapped = wrap(f"{name[: kept - kept // 2]}…{name[-(kept // 2) :]}", inches, points)
    return wrapped


def _parts(piece: str, inches: float, points: float, bold: bool) -> list[str]:
    """Return a piece whole if a line can hold it, else cut into parts that it can hold."""
    if width(piece.rstrip(), points, bold=bold) <= inches:
        return [piece]
    if " " in piece.rstrip():  # a word with its number, and both are too long for one line
        word, _, rest = piece.partition(" ")
        return [part for one in (f"{word} ", rest) for part in _parts(one, inches, points, bold)]
    parts, part, soft = [], "", 0
    for letter in piece:
        if part and width(part + letter.rstrip(), points, bold=bold) > inches:
            cut = soft if soft >= len(part) // 2 else len(part)
            parts.append(part[:cut])
            part, soft = part[cut:], 0
        part += letter
        if letter in BREAKS:
            soft = len(part)
    return [*parts, part]


def _pieces(text: str) -> list[str]:
    """Split into units that a line may end after: words, or single wide characters."""
    pieces: list[str] = []
    word = ""
    for at, letter in enumerate(text):
        following = text[at + 1 : at + 2]
        if letter in CLOSING and not word and pieces and not pieces[-1].endswith(" "):
            pieces[-1] += letter
        elif letter in CLOSING:
            word += letter
            if _is_wide(letter):
                pieces.append(word)
                word = ""
        elif _is_wide(letter) and letter not in OPENING:
            # An opening bracket waits in `word` for the character behind it.
            if word and word[-1] not in OPENING:
                pieces.append(word)
                word = ""
            pieces.append(word + letter)
            word = ""
        elif letter in OPENING and word and _is_wide(letter):
            pieces.append(word)
            word = letter
        else:
            word += letter
            is_end = letter == " " and not (following and following in CLOSING)  # as in "95 %"
            if is_end and not _belongs(word, text[at + 1 :]):
                pieces.append(word)
                word = ""
    return [*pieces, word] if word else pieces


def _belongs(word: str, rest: str) -> bool:
    """Tell whether a line may not end between: a number belongs to its word.

    As in `4 sinks`, or in `window 128` where no word follows.
    """
    *_, last = ["", *word.split()]
    if rest[:1].isalpha():
        return last[-1:].isdigit() and last.lstrip("(").replace(",", "").isdigit()
    number, _, after = rest.partition(" ")
    has_own = number[-1:].isdigit() and after[:1].isalpha()
    return rest[:1].isdigit() and last[-1:].isalpha() and not has_own


def _is_wide(letter: str) -> bool:
    return unicodedata.east_asian_width(letter) in "WF"


def _installed(names: tuple[str, ...]) -> str | None:
    """Return the first of the fonts that is installed, looking again if none seems to be."""
    for again in (False, True):
        if again:
            _refresh()
        known = {entry.name for entry in font_manager.fontManager.ttflist}
        if found := next((name for name in names if name in known), None):
            return found
    return None


def _refresh() -> None:
    """Learn of fonts that were installed since matplotlib wrote its cache."""
    known = {entry.fname for entry in font_manager.fontManager.ttflist}
    for path in sorted(set(font_manager.findSystemFonts()) - known):
        try:
            font_manager.fontManager.addfont(path)
        except (OSError, RuntimeError):
            continue  # a damaged font, or one of a kind that matplotlib cannot read


def _entry(name: str) -> FontEntry | None:
    entries = font_manager.fontManager.ttflist
    return next((entry for entry in entries if entry.name == name), None)


def _letters(entry: FontEntry) -> set[str]:
    if entry.name.startswith("Last Resort"):  # boxes that tell the script, no letters
        return set()
    return _letters_of(entry.fname, getattr(entry, "index", 0))


@cache
def _letters_of(path: str, index: int) -> set[str]:
    try:
        face = FT2Font(path, face_index=index) if index else FT2Font(path)
        return {chr(code) for code in face.get_charmap()}
    except (OSError, RuntimeError):
        return set()
