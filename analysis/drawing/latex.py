"""A text in LaTeX: printed sign by sign as it is, in whatever font, by whichever engine.

What pdfLaTeX reads as a command, an option, a ligature or another sign is written as a command
of its kernel (2020 or later). Some letters exist in the T1 encoding alone, and pdfLaTeX knows no
script but Latin: these are printed where that is possible, else as numbers (`U+4E2D`).
"""

import re
import unicodedata
from collections.abc import Iterable

from orchestrator.reports.tables import visible

MACRO = "sinksweeptext"
DEFINED = (
    rf"\providecommand{{\{MACRO}}}[3]{{\ifdefined\Umathchar#2\else\ifdefined\CJKfamily#2\else"
    r"\ifnum\pdfstrcmp{\csname f@encoding\endcsname}{#1}=0 #2\else\texttt{#3}\fi\fi\fi}"
)
NOTE = (
    "% pdfLaTeX lacks some letters and prints their numbers: take XeLaTeX or LuaLaTeX with a font\n"
    r"% that has them, a CJK package or, for those with T1 in front, \usepackage[T1]{fontenc}"
)
_SIGNS = {
    **{letter: "\\" + letter for letter in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}",
    **{letter: rf"\texttt{{\char{ord(letter)}}}" for letter in '"^~'},
    "–": "--",  # noqa: RUF001
    "−": "$-$",  # noqa: RUF001
    "×": r"$\times$",  # noqa: RUF001
    "±": r"$\pm$",
    "·": r"$\cdot$",
    "∞": r"$\infty$",
    "≈": r"$\approx$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "→": r"$\to$",
    "†": r"$\dagger$",
    "…": r"\dots{}",
}
_ACCENTS = "\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0327"
_PLAIN = "ßæœøłıÆŒØŁ¡¿—“”‘’"  # noqa: RUF001
"""Besides ASCII and what has one of the accents: in every encoding, under its own name."""
_ONLY_T1 = "ĄąĘęĮįŲųĐđÐðÞþŊŋ«»‹›„‚"  # noqa: RUF001
_SIGN = re.compile("((?<=[-–])[-–]|(?<=,),)|.")  # noqa: RUF001
"""A sign; the group is one that a font would join with the sign before."""


def latex(text: str) -> str:
    """Write a text on one line; it needs what `preamble` says."""
    shown = unicodedata.normalize("NFC", visible(" ".join(text.split())))
    found = []
    for kind, run in _runs(shown):
        if kind is None:
            found.append(_SIGN.sub(_sign, run))
        else:
            numbers = " ".join(f"U+{ord(letter):04X}" for letter in run)
            found.append(rf"\{MACRO}{{{kind}}}{{{run}}}{{{numbers}}}")
    return "".join(found)


def latex_row(cells: Iterable[str]) -> str:
    r"""Write cells as a line of a table.

    What stands first comes after `\\` or a rule, which would take a bracket or a star as theirs.
    """
    line = " & ".join(cells)
    return ("{}" if line[:1] in ("[", "*") else "") + line + r" \\"


def preamble(written: str, *packages: str) -> list[str]:
    """Return the lines in front of a file: the packages, and the command that texts may need."""
    used = " ".join(rf"\usepackage{{{name}}}" for name in packages)
    return [f"% needs {used}", *([NOTE, DEFINED] if rf"\{MACRO}{{" in written else [])]


def _runs(text: str) -> list[tuple[str | None, str]]:
    """Cut a text into what every encoding has (None), what T1 has, and the rest."""
    runs: list[tuple[str | None, str]] = []
    for letter in text:
        kind = None if _is_known(letter) else "T1" if letter in _ONLY_T1 else "-"
        if runs and runs[-1][0] == kind:
            runs[-1] = (kind, runs[-1][1] + letter)
        else:
            runs.append((kind, letter))
    return runs


def _sign(found: re.Match[str]) -> str:
    apart = r"\kern0pt" if found[1] else ""
    return apart + _SIGNS.get(found[0], found[0])


def _is_known(letter: str) -> bool:
    if letter.isascii() or letter in _SIGNS or letter in _PLAIN:
        return True
    parts = unicodedata.normalize("NFD", letter)
    return letter < "\u0180" and len(parts) == 2 and parts[0].isascii() and parts[1] in _ACCENTS
