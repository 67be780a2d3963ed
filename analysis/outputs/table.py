"""`analysis table`: results as text, Markdown and LaTeX for people, csv and json for programs.

People get words: rounded, with units in the head, a dash for what is not known. Programs get
numbers: the value, low and high of an interval as columns of their own, the unit in the name.
"""

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from analysis.drawing.latex import latex, latex_row, preamble
from analysis.outputs.columns import ALWAYS, Column
from analysis.rows.blocks import Blocks, lead
from orchestrator.reports.tables import aligned, csv_lines, in_markdown, terminal_width

Render = Callable[[pd.DataFrame, Sequence[Column], Blocks], str]
GROUP = ["source", "model", "dtype", "dataset", "n_tokens"]
"""Rows among which one may be the best."""


def render_table(rows: pd.DataFrame, columns: Sequence[Column], blocks: Blocks, form: str) -> str:
    """Write prepared rows in one of `FORMATS`."""
    return FORMATS[form](rows, columns, blocks)


def figures(rows: pd.DataFrame, columns: Sequence[Column]) -> list[dict[str, Any]]:
    """Return one mapping per row: every number with its bounds, then what the row is."""
    found = []
    for row in rows.to_dict("records"):
        line = {name: value for one in columns for name, value in one.figures(row).items()}
        rest = [Column(name=name, head=name, value=name) for name in ALWAYS if name not in line]
        found.append(line | {k: v for one in rest for k, v in one.figures(row).items()})
    return found


def best(rows: pd.DataFrame, blocks: Blocks) -> set[str]:
    """Return the row ids whose perplexity is lower than every other one's on the same text.

    Lower beyond the paired interval, that is: of results that are tied, none is the best.
    """
    usable = rows[rows["perplexity"].notna() & rows["quality_unusable"].isna() & ~rows["hollow"]]
    found = set()
    for _, part in usable.groupby(GROUP, dropna=False):
        leading = lead(dict(zip(part["row_id"], part["perplexity"], strict=True)), blocks)
        if leading is not None and leading.is_alone and len(part) > 1:
            found.add(leading.best)
    return found


def _words(rows: pd.DataFrame, columns: Sequence[Column]) -> list[list[str]]:
    """Return heads and cells as `text` and `markdown` show them."""
    ranges = {"perplexity", "increase"}
    cells = [
        [" ".join(one.words(row, ranges=one.name in ranges).split()) for one in columns]
        for row in rows.to_dict("records")
    ]
    return [[one.name for one in columns], *cells]


def _text(rows: pd.DataFrame, columns: Sequence[Column], blocks: Blocks) -> str:
    lines = _words(rows, columns)
    right = [one.is_right for one in columns]
    head, *body = aligned(lines, right, terminal_width())
    widest = max(len(line) for text in (head, *body) for line in text.split("\n"))
    return "\n".join([head, "-" * widest, *body])


def _markdown(rows: pd.DataFrame, columns: Sequence[Column], blocks: Blocks) -> str:
    heads, *cells = _words(rows, columns)
    rule = ["---:" if one.is_right else "---" for one in columns]
    escaped = [[in_markdown(cell) for cell in line] for line in cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in [heads, rule, *escaped])


def _latex(rows: pd.DataFrame, columns: Sequence[Column], blocks: Blocks) -> str:
    """Write a booktabs table; bold is a perplexity that is distinguishable from all others."""
    bold = best(rows, blocks)
    cells = [
        [latex(one.words(row, ranges=True, units=False)) for one in columns]
        for row in rows.to_dict("records")
    ]
    for place, one in enumerate(columns):
        for row_id, line in zip(rows["row_id"], cells, strict=True):
            if one.name == "perplexity" and str(row_id) in bold:
                line[place] = rf"\textbf{{{line[place]}}}"
    sides = "".join("r" if one.is_right else "l" for one in columns)
    heads = latex_row(latex(one.titled) for one in columns)
    lines = [
        *(rf"\begin{{tabular}}{{{sides}}}", r"\toprule", heads, r"\midrule"),
        *(latex_row(line) for line in cells),
        *(r"\bottomrule", r"\end{tabular}"),
    ]
    return "\n".join([*preamble("\n".join(lines), "booktabs"), *lines])


def _csv(rows: pd.DataFrame, columns: Sequence[Column], blocks: Blocks) -> str:
    lines = figures(rows, columns)
    names = list(lines[0]) if lines else [one.key or one.name for one in columns]
    return csv_lines([names, *([line[name] for name in names] for line in lines)])


def _json(rows: pd.DataFrame, columns: Sequence[Column], blocks: Blocks) -> str:
    lines = figures(rows, columns)
    for line in lines:
        for name, value in line.items():
            # JSON has no infinity; it is written as a text, never as a missing value.
            if isinstance(value, float) and math.isinf(value):
                line[name] = "Infinity" if value > 0 else "-Infinity"
    return json.dumps(lines, indent=2, ensure_ascii=False, allow_nan=False, default=str)


FORMATS: dict[str, Render] = {
    "text": _text,
    "markdown": _markdown,
    "latex": _latex,
    "csv": _csv,
    "json": _json,
}
