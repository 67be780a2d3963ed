"""Rows of values as aligned text, Markdown or CSV: in a terminal folded to its width, never cut."""

import csv
import re
import shutil
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from types import SimpleNamespace
from typing import Any

Rows = Sequence[Sequence[Any]]
# Not `_` nor `#` inside a word: they mean nothing there, and names are full of them.
_MARKUP = re.compile(r"([\\|*`<>\[\]~$]|&(?=[\w#])|(?<!\w)#|(?<![^\W_])_|_(?![^\W_]))")


def text_table(header: Sequence[str], rows: Rows) -> str:
    """Return columns aligned by spaces; numbers to the right."""
    cells = [[cell(value) for value in row] for row in rows]
    right = [_is_number(column) for column in zip(*rows, strict=True)] or [False] * len(header)
    return "\n".join(aligned([list(header), *cells], right, terminal_width()))


def aligned(
    lines: Sequence[Sequence[str]], right: Sequence[bool], room: int | None = None
) -> list[str]:
    """Return a text for each line, its cells below each other; `right`: flush with the next column.

    What is wider than `room` goes on below, indented: every text has as many lines.
    """
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    starts, taken = [0], -2
    for place, width in enumerate(widths):
        if room is not None and place > starts[-1] and taken + 2 + width > room:
            starts.append(place)
            taken = 0  # and two more for its indent
        taken += 2 + width
    texts = []
    for line in lines:
        padded = [
            value.rjust(width) if is_right else value.ljust(width)
            for value, width, is_right in zip(line, widths, right, strict=True)
        ]
        ends = [*starts[1:], len(widths)]
        parts = ["  ".join(padded[a:b]).rstrip() for a, b in zip(starts, ends, strict=True)]
        texts.append("\n  ".join(parts))
    return texts


def terminal_width() -> int | None:
    """Return how many letters a line of standard output has; None where it is no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def markdown_table(header: Sequence[str], rows: Rows) -> str:
    """Return a table in GitHub's Markdown."""
    right = [_is_number(column) for column in zip(*rows, strict=True)] or [False] * len(header)
    lines = [
        _markdown_line(header),
        _markdown_line(["---:" if is_number else "---" for is_number in right]),
        *(_markdown_line([in_markdown(cell(value)) for value in row]) for row in rows),
    ]
    return "\n".join(lines)


def in_markdown(text: str) -> str:
    """Return a text on one line, in which no sign has a meaning."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))


def csv_table(header: Sequence[str], rows: Rows) -> str:
    """Return comma-separated values with full precision; what is missing is empty."""
    texts = [["+".join(map(str, v)) if isinstance(v, list | tuple) else v for v in r] for r in rows]
    plain = [[v.isoformat() if isinstance(v, datetime) else v for v in row] for row in texts]
    return csv_lines([header, *plain])


def csv_lines(rows: Iterable[Sequence[Any]]) -> str:
    """Return rows as they are, as lines of comma-separated values."""
    lines: list[str] = []
    # A name may hold a carriage return, which is quoted only where one ends the lines.
    writer = csv.writer(SimpleNamespace(write=lines.append), lineterminator="\r\n")
    writer.writerows(rows)
    return "\n".join(line.removesuffix("\r\n") for line in lines)


def cell(value: Any) -> str:
    """Return a value as a reader wants it: four significant digits, `-` for what is missing."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if 10_000 <= abs(value) < 1e10 else f"{value:.4g}"
    if isinstance(value, list | tuple):
        return "+".join(map(str, value))
    return visible(str(value))


def visible(text: str) -> str:
    """Return a name on one line: what does not print, or turns the writing round, as an escape."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def _is_number(column: Sequence[Any]) -> bool:
    given = [value for value in column if value is not None]
    return bool(given) and all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in given
    )


def _markdown_line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
