"""What stands beside the pictures of a folder: `README.md` for people, `figures.tex` for a paper.

Each names, for every figure, its caption, the command that draws it and the rows behind it, so that
a folder found a year later explains itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis.drawing.latex import latex, preamble
from analysis.errors import writing
from analysis.outputs.columns import chosen, prepared
from orchestrator.reports.tables import in_markdown

README, TEX = "README.md", "figures.tex"
ROWS = ("dataset", "method", "cache", "perplexity", "runtime", "run_id")
FITTED = r"width=\linewidth,height=0.6\textheight,keepaspectratio"
"""A figure and its caption stay on one page."""
MOST_CAPTION = 600
"""Letters of a caption in LaTeX, whole sentences; the README has all of it."""
MOST_ROWS = 200
"""Rows that are listed for one figure; the others are counted."""


@dataclass(frozen=True, kw_only=True)
class SavedFigure:
    """One figure of the folder."""

    path: Path
    title: str
    caption: str
    command: str
    """Draws it again."""
    rows: pd.DataFrame
    """What it shows, as they stand in a frame."""

    @property
    def label(self) -> str:
        """What a paper refers to it by."""
        return f"fig:{self.path.stem.replace('_', '-')}"


def explain(entries: Sequence[SavedFigure], folder: Path) -> list[Path]:
    """Write both files; return their paths. Raises `AnalysisError` where that is not possible."""
    texts = {README: _readme(entries), TEX: _tex(entries)}
    with writing(folder):
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8", errors="backslashreplace")
    return [folder / name for name in texts]


def size(path: Path) -> str:
    """Write how large a file is."""
    count = path.stat().st_size
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


def _readme(entries: Sequence[SavedFigure]) -> str:
    parts = ["# Figures\n", "Made by `analysis plot`; `figures.tex` has the same for LaTeX.\n"]
    for one in entries:
        parts += [
            f"## {in_markdown(one.title)}\n",
            f"![{in_markdown(one.title)}]({one.path.name})\n",
            f"{in_markdown(one.caption)}\n",
            f"```sh\n{one.command}\n```\n",
        ]
        listed = prepared(one.rows.head(MOST_ROWS), {})
        columns = chosen(ROWS, listed)
        titles = " | ".join(column.titled for column in columns)
        table = [f"| {titles} |", "|" + " --- |" * len(columns)]
        for row in listed.to_dict("records"):
            cells = (in_markdown(column.words(row, ranges=False)) for column in columns)
            table.append("| " + " | ".join(cells) + " |")
        more = len(one.rows) - MOST_ROWS
        parts += [*table, *([f"\nand {more} more"] if more > 0 else []), ""]
    return "\n".join(parts)


def _shortened(caption: str) -> str:
    """Return as many whole sentences as a page has room for beside the figure."""
    if len(caption) <= MOST_CAPTION:
        return caption
    end = max(caption.rfind(stop, 0, MOST_CAPTION) for stop in (". ", "。"))
    return f"{caption[: end + 1]} More in {README}." if end > 0 else caption


def _tex(entries: Sequence[SavedFigure]) -> str:
    parts = []
    for one in entries:
        title, caption = latex(one.title), latex(f"{one.title}. {_shortened(one.caption)}")
        run_ids = ", ".join(str(run_id) for run_id in one.rows["run_id"].head(MOST_ROWS))
        if one.path.suffix == ".svg":
            parts.append("% LaTeX reads no SVG: draw this one with --format pdf")
        parts += [
            f"% {' '.join(one.command.split())}",
            f"% rows: {run_ids}",
            r"\begin{figure}",
            r"  \centering",
            rf"  \includegraphics[{FITTED}]{{{one.path.name}}}",
            rf"  \caption[{{{title}}}]{{{caption}}}",
            rf"  \label{{{one.label}}}",
            "\\end{figure}\n",
        ]
    head = [r"% \input this file, or take single figures", *preamble("".join(parts), "graphicx")]
    if any("--no-caption" not in one.command for one in entries):
        head.append("% the pictures hold their captions, too, unless drawn with --no-caption")
    return "\n".join([*head, *parts])
