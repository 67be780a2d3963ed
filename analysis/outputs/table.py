"""`analysis table`: the summary as text, Markdown, CSV or JSON."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence

from analysis.figures.results_summary import COLUMNS

Lines = Sequence[Mapping[str, str]]


def render(lines: Lines, form: str) -> str:
    """Write the lines in one of `FORMATS`."""
    return FORMATS[form](lines)


def _text(lines: Lines) -> str:
    rows = [list(COLUMNS), *([line[name] for name in COLUMNS] for line in lines)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    written = ["  ".join(_pad(row, widths)).rstrip() for row in rows]
    return "\n".join([written[0], "-" * len(written[0]), *written[1:]])


def _pad(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    sides = ["<", "<", *[">"] * (len(row) - 2)]
    return [f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True)]


def _markdown(lines: Lines) -> str:
    rule = ["---", "---", *["---:"] * (len(COLUMNS) - 2)]
    rows = [list(COLUMNS), rule, *([line[name] for name in COLUMNS] for line in lines)]
    return "\n".join("| " + " | ".join(row).replace("*", "\\*") + " |" for row in rows)


def _csv(lines: Lines) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return file.getvalue().rstrip("\n")


def _json(lines: Lines) -> str:
    return json.dumps(list(lines), indent=2, ensure_ascii=False)


FORMATS: dict[str, Callable[[Lines], str]] = {
    "text": _text,
    "markdown": _markdown,
    "csv": _csv,
    "json": _json,
}
