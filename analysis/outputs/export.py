"""`analysis export`: the results for other tools, with what the pairs say.

`csv`, `json`, `parquet` and `markdown` hold one line per result; `original` writes the JSON
files of the original experiment, one comparison per text and one file per ablation.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.drawing.numbers import written
from analysis.errors import writing
from analysis.rows.frames import is_missing
from orchestrator.reports.tables import csv_lines, in_markdown

SHOWN = (
    "dataset",
    "method_label",
    "n_sink",
    "window_size",
    "budget",
    "perplexity",
    "perplexity_low",
    "perplexity_high",
    "perplexity_increase",
    "runtime_ms",
    "speedup",
    "compression_ratio",
    "evicted_tokens",
    "n_tokens",
    "device_name",
    "run_id",
)
"""Columns of the Markdown table; the other formats hold all."""


def write_results(frame: pd.DataFrame, folder: Path, form: str) -> Path:
    """Write every row as one file `results.<form>`. Raises `AnalysisError` if that fails."""
    path = folder / f"results.{'md' if form == 'markdown' else form}"
    with writing(path):
        if form == "csv":
            known = frame.astype(object).where(frame.notna(), None)
            text = csv_lines([list(frame), *known.itertuples(index=False)])
            path.write_text(text + "\n", encoding="utf-8", newline="")
        elif form == "json":
            how: dict[str, Any] = {"orient": "records", "date_format": "iso"}
            frame.to_json(path, **how, indent=1, double_precision=15)
        elif form == "parquet":
            frame.to_parquet(path, index=False)
        else:
            lines = ["| " + " | ".join(SHOWN) + " |", "|" + " --- |" * len(SHOWN)]
            for row in frame[list(SHOWN)].to_dict("records"):
                values = ["" if value is None else value for value in plain_row(row).values()]
                cells = [written(x, ".6g") if isinstance(x, float) else str(x) for x in values]
                lines.append("| " + " | ".join(in_markdown(cell) for cell in cells) + " |")
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def plain_row(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Turn a row of a frame into JSON's values: null for missing, whole floats into integers."""
    plain: dict[str, Any] = {}
    for name, value in row.items():
        bare: Any = None if is_missing(value) else value
        bare = bare.tolist() if hasattr(bare, "tolist") else bare
        is_whole = isinstance(bare, float) and bare.is_integer()
        plain[str(name)] = int(bare) if is_whole else bare
    return plain
