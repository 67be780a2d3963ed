"""The result files of the original experiment: read as imported rows, written from results.

A file holds either a comparison (`baseline`, `streaming`, `metrics`) or an ablation
(`ablation_type`, `results`). What a file does not say stays null: no device name, no versions,
no intervals, no evicted tokens (unless the cache is longer than the text). The original's
baseline is a sliding window of `max_length` tokens that advances by `stride`; it becomes a
recompute row with that window and stride, so it never pairs with a streaming row of another
budget.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from analysis.drawing.captions import dataset_name
from analysis.errors import AnalysisError, MissingRowsError
from analysis.figures import ablation
from analysis.outputs.export import _guarded, _row
from analysis.rows import headline
from analysis.rows.comparable import Selection
from workers.contract import rows as record

Row = dict[str, Any]
_DTYPES = {"torch.float16": "float16", "torch.bfloat16": "bfloat16", "torch.float32": "float32"}
_DATASETS = {"wikitext": "wikitext-103", "pg19": "pg19"}


def read_folder(folder: Path) -> tuple[list[Row], list[str]]:
    """Return the rows of every result file below a folder, and the files that are none.

    Raises `AnalysisError` if there is no result file.
    """
    rows: list[Row] = []
    skipped: list[str] = []
    for path in sorted(folder.rglob("*.json")):
        try:
            rows += _complete(read_file(path), path.relative_to(folder))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            skipped.append(f"{path}: {_reason(error)}")
    if not rows:
        raise AnalysisError(
            f"{folder}: no result file of the original experiment (JSON with `streaming` and "
            f"`baseline`, or with `ablation_type`); skipped: {'; '.join(skipped) or 'nothing'}"
        )
    return rows, skipped


def read_file(path: Path) -> list[Row]:
    """Return the rows of one file, as far as the file says. Raises `ValueError` for another."""
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or not {"model", "total_tokens"} <= set(content):
        raise ValueError("not a result file: no model or total_tokens")
    if "ablation_type" in content:
        return [_streaming(content, entry, entry) for entry in content["results"]]
    return [
        *_baseline(content),
        _streaming(content, content["streaming_llm"], content["streaming"])
        | {"compression_ratio": content["metrics"].get("compression_ratio")},
    ]


def _baseline(content: Mapping[str, Any]) -> Iterator[Row]:
    if content.get("baseline"):
        yield {
            **_shared(content, content["baseline"]),
            "method": "recompute",
            "n_sink": 0,
            "window_size": content.get("max_length"),
            "budget": content.get("max_length"),
            "recompute_stride": content.get("stride"),
        }


def _streaming(content: Mapping[str, Any], cache: Mapping[str, Any], values: Row) -> Row:
    budget = cache["n_sink"] + cache["window_size"]
    return {
        **_shared(content, values),
        "method": "streaming",
        "n_sink": cache["n_sink"],
        "window_size": cache["window_size"],
        "budget": budget,
        # Only a cache that holds the whole text proves what was evicted: nothing.
        "evicted_tokens": 0 if content["total_tokens"] - 1 <= budget else None,
        "compression_ratio": values.get("compression_ratio"),
    }


def _shared(content: Mapping[str, Any], values: Mapping[str, Any]) -> Row:
    name = str(content["dataset"]).partition(":")[0]
    return {
        "model": content["model"],
        "dataset": _DATASETS.get(name, name),
        "split": content.get("split"),
        "dtype": _DTYPES.get(str(content.get("dtype"))),
        "max_documents": content.get("max_samples"),
        "max_tokens": content.get("max_eval_tokens"),
        "n_tokens": content["total_tokens"],
        "perplexity": values["perplexity"],
        "runtime_ms": _milliseconds(values.get("runtime_sec")),
        "prefill_ms": _milliseconds(values.get("prefill_sec")),
    }


def _complete(rows: list[Row], path: Path) -> list[Row]:
    """Add the identity: the same file imported twice gives the same row ids."""
    completed = []
    for number, row in enumerate(rows):
        text = json.dumps([path.as_posix(), number, row], sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()
        identity = {
            "row_id": f"imported-{digest[:24]}",
            # Never the id of a measurement: importing must not make a launch skip one.
            "run_id": hashlib.sha256(f"imported {text}".encode()).hexdigest()[:16],
            "attempt": 1,
            "sweep": f"import:{path.with_suffix('').as_posix()}",
            "source": "imported",
            "status": "ok",
            "schema_version": record.SCHEMA_VERSION,
        }
        completed.append(dict(record.complete(identity | row)))
    return completed


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else 1000 * seconds


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON ({error.msg} in line {error.lineno})"
    return f"no {error}" if isinstance(error, KeyError) else str(error)


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


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor
