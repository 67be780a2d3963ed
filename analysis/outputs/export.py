"""`analysis export`: the results for other tools, with what the pairs say.

`csv`, `json`, `parquet` and `markdown` hold one line per result; `original` writes the JSON
files of the original experiment, one comparison per text and one file per ablation.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.drawing.captions import dataset_name
from analysis.errors import AnalysisError, MissingRowsError
from analysis.figures import ablation
from analysis.rows import headline
from analysis.rows.comparable import Selection
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


def write(frame: pd.DataFrame, folder: Path, form: str) -> Path:
    """Write every row as one file `results.<form>`. Raises `AnalysisError` if that fails."""
    path = folder / f"results.{'md' if form == 'markdown' else form}"
    _guarded(partial(_WRITERS[form], frame, path), path)
    return path


def write_original(selection: Selection, folder: Path) -> list[Path]:
    """Write the original experiment's files, as many as there are rows for."""
    written = []
    for name, content in original(selection):
        path = folder / f"{name}.json"
        text = json.dumps(content, indent=2) + "\n"
        _guarded(partial(path.write_text, text, encoding="utf-8"), path)
        written.append(path)
    return written


def original(selection: Selection) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (file name, content) in the original experiment's format; unknown is null."""
    chosen = headline.choose(selection)
    for dataset in chosen.datasets:
        ours = _row(chosen.streaming.loc[dataset].to_dict())
        base = _row(chosen.baseline.loc[dataset].to_dict())
        if ours["row_id"] is not None:
            name = dataset_name(dataset).replace(".", "_").replace("wikitext-103", "wikitext")
            yield f"{name}_result", _comparison(selection, dataset, chosen, ours, base)
    for varied in ("window_size", "n_sink"):
        select = getattr(ablation, f"select_{varied}")
        try:
            yield f"ablation_{varied}", _ablation(select(selection))
        except MissingRowsError:
            continue  # an ablation that was not run has no file


def _comparison(
    selection: Selection,
    dataset: str,
    chosen: headline.Headline,
    ours: Mapping[str, Any],
    base: Mapping[str, Any],
) -> dict[str, Any]:
    budget = chosen.n_sink + chosen.window_size
    return {
        **_head(selection, dataset, ours),
        "split": ours["split"],
        "max_length": budget,
        "stride": base["recompute_stride"],
        "max_samples": ours["max_documents"],
        "max_eval_tokens": ours["max_tokens"],
        "streaming_llm": {
            "n_sink": chosen.n_sink,
            "window_size": chosen.window_size,
            "max_cache_size": budget,
        },
        "baseline": _values(base),
        "streaming": _values(ours),
        "metrics": {
            "speedup": ours["speedup"],
            "compression_ratio": ours["compression_ratio"],
            "ppl_increase_percent": _times(ours["perplexity_increase"], 100),
            "peak_memory_mb": _times(ours["peak_memory_bytes"], 2**-20),
        },
        "device": selection.setting["device_name"],
        "dtype": f"torch.{selection.setting['dtype']}" if selection.setting["dtype"] else None,
    }


def _ablation(data: ablation.Ablation) -> dict[str, Any]:
    rows = [_row(row) for row in data.rows.to_dict("records")]
    return {
        **_head(data.selection, data.dataset, rows[-1]),
        "ablation_type": data.varied,
        "results": [
            {
                "n_sink": row["n_sink"],
                "window_size": row["window_size"],
                "max_cache_size": row["budget"],
                **_values(row),
                "compression_ratio": row["compression_ratio"],
            }
            for row in rows
        ],
    }


def _head(selection: Selection, dataset: str, row: Mapping[str, Any]) -> dict[str, Any]:
    original_name = {"wikitext-103": "wikitext:wikitext-103-v1", "pg19": "pg19:"}
    return {
        "model": selection.setting["model"],
        "dataset": original_name.get(dataset, f"{dataset_name(dataset)}:"),
        "total_tokens": row["n_tokens"],
    }


def _values(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "perplexity": row["perplexity"],
        "runtime_sec": _times(row["runtime_ms"], 1e-3),
        "prefill_sec": _times(row["prefill_ms"], 1e-3),
    }


def _row(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(name): _plain(value) for name, value in row.items()}


def _plain(value: Any) -> Any:
    """Turn a value of a frame into JSON's: null for missing, whole floats into integers."""
    if is_missing(value):
        return None
    value = value.item() if hasattr(value, "item") else value
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


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
