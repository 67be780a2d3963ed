"""`analysis export`: the results for other tools, with what the pairs say.

`csv`, `json`, `parquet` and `markdown` hold one line per result; `original` writes the JSON
files of the original experiment, one comparison per text and one file per ablation.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.errors import AnalysisError
from analysis.rows.frames import is_missing

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
    _guarded(partial(_WRITERS[form], frame, path), path)
    return path


def _row(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(name): _plain(value) for name, value in row.items()}


def _plain(value: Any) -> Any:
    """Turn a value of a frame into JSON's: null for missing, whole floats into integers."""
    if is_missing(value):
        return None
    value = value.tolist() if hasattr(value, "tolist") else value
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _csv(frame: pd.DataFrame, path: Path) -> None:
    frame.to_csv(path, index=False)


def _json(frame: pd.DataFrame, path: Path) -> None:
    frame.to_json(path, orient="records", date_format="iso", indent=1, double_precision=15)


def _parquet(frame: pd.DataFrame, path: Path) -> None:
    frame.to_parquet(path, index=False)


def _markdown(frame: pd.DataFrame, path: Path) -> None:
    rows = [_row(row) for row in frame[list(SHOWN)].to_dict("records")]
    lines = ["| " + " | ".join(SHOWN) + " |", "|" + " --- |" * len(SHOWN)]
    for row in rows:
        cells = ["" if value is None else _cell(value) for value in row.values()]
        lines.append("| " + " | ".join(cells) + " |")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _cell(value: Any) -> str:
    return (f"{value:.6g}" if isinstance(value, float) else str(value)).replace("|", "\\|")


def _guarded(act: Callable[[], object], path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        act()
    except OSError as error:
        raise AnalysisError(f"cannot write {path}: {error.strerror or error}") from error


_WRITERS: dict[str, Callable[[pd.DataFrame, Path], None]] = {
    "csv": _csv,
    "json": _json,
    "parquet": _parquet,
    "markdown": _markdown,
}
