"""The result files of the original experiment: read as imported rows, written from results.

A file holds a comparison (`baseline`, `streaming` or `kvpress`, `metrics`) or an ablation
(`ablation_type`, `results`). What a file does not say stays null: no device name, no versions,
no intervals, no evicted tokens (unless the cache is longer than the text). The original's
baseline is a sliding window of `max_length` tokens that advances by `stride`; it becomes a
recompute row with that window and stride, and pairs with what its own file compares with it.
Every row keeps the file's content (`reported`), so that an export gives it back field for field.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from analysis.drawing.captions import dataset_name
from analysis.errors import AnalysisError, MissingRowsError, writing
from analysis.figures import ablation
from analysis.outputs.export import plain_row
from analysis.rows import headline
from analysis.rows.comparable import Selection
from analysis.rows.pairing import reported_set
from workers.contract import rows as record

Row = dict[str, Any]
_DATASETS = {"wikitext": "wikitext-103", "pg19": "pg19"}
_METHODS = ("streaming", "kvpress")
_ENVIRONMENT = {
    "device_name": "gpu_name",
    "torch_version": "torch",
    "cuda_version": "cuda",
    "transformers_version": "transformers",
    "python_version": "python",
    "git_commit": "git_commit",
}
"""Columns and what the newer files call them in `env`."""


def read_originals(folder: Path) -> tuple[list[Row], list[str]]:
    """Return the rows of every result file below a folder, and the files that are none.

    Raises `AnalysisError` if there is no result file.
    """
    rows: list[Row] = []
    skipped: list[str] = []
    for path in sorted(folder.rglob("*.json")):
        try:
            rows += _complete(read_file(path), path.relative_to(folder), folder.resolve().name)
        except json.JSONDecodeError as error:
            skipped.append(f"{path}: not JSON ({error.msg} in line {error.lineno})")
        except KeyError as error:
            skipped.append(f"{path}: no {error}")
        except (OSError, ValueError, TypeError, AttributeError) as error:
            skipped.append(f"{path}: {error}")
    if not rows:
        raise AnalysisError(
            f"{folder}: no result file of the original experiment (JSON with `baseline`, "
            "`streaming` or `kvpress`, or with `ablation_type`); "
            f"skipped: {'; '.join(skipped) or 'nothing'}"
        )
    return rows, skipped


def read_file(path: Path) -> list[Row]:
    """Return the rows of one file, as far as the file says. Raises `ValueError` for another."""
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or not {"model", "total_tokens"} <= set(content):
        raise ValueError("not a result file: no model or total_tokens")
    if "ablation_type" in content:
        rows = [
            _streaming(content, entry, entry)
            | {"reported": {"content": content | {"results": [entry]}, "entry": number}}
            for number, entry in enumerate(content["results"])
        ]
    else:
        rows = [one | {"reported": {"content": content}} for one in _comparison_rows(content)]
    if not rows:
        raise ValueError("not a result file: neither baseline nor streaming nor kvpress")
    return rows


def _comparison_rows(content: Mapping[str, Any]) -> Iterator[Row]:
    if content.get("baseline"):
        yield {
            **_shared(content, content["baseline"]),
            "method": "recompute",
            "n_sink": 0,
            "window_size": content.get("max_length"),
            "budget": content.get("max_length"),
            "recompute_stride": content.get("stride"),
        }
    metrics = content.get("metrics") or {}
    for method in (name for name in _METHODS if content.get(name)):
        ours = _streaming(content, content["streaming_llm"], content[method])
        peak = content[method].get("peak_memory_mb", metrics.get("peak_memory_mb"))
        yield ours | {
            "method": method,
            "compression_ratio": metrics.get("compression_ratio"),
            "peak_memory_bytes": _bytes(peak),
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
    dtype, environment = content.get("dtype"), content.get("env") or {}
    return {
        "model": content["model"],
        "dataset": _DATASETS.get(name, name),
        "split": content.get("split"),
        "dtype": None if dtype is None else str(dtype).removeprefix("torch."),
        "max_documents": content.get("max_samples"),
        "max_tokens": content.get("max_eval_tokens"),
        "n_tokens": content["total_tokens"],
        "perplexity": values["perplexity"],
        "runtime_ms": _times(values.get("runtime_sec"), 1000),
        "prefill_ms": _times(values.get("prefill_sec"), 1000),
        "first_token_ms": _times(values.get("first_token_latency_sec"), 1000),
        "latency_ms_mean": values.get("tpot_ms"),
        "peak_memory_bytes": _bytes(values.get("peak_memory_mb")),
        **{column: environment.get(key) for column, key in _ENVIRONMENT.items()},
    }


_IDENTIFYING = (
    *("model", "dataset", "split", "dtype", "max_documents", "max_tokens", "n_tokens"),
    *("perplexity", "runtime_ms", "prefill_ms", "method", "n_sink", "window_size", "budget"),
    *("recompute_stride", "evicted_tokens", "compression_ratio"),
)
"""What makes the id of an imported row, in this order: the ids of earlier imports stay."""


def _complete(rows: list[Row], path: Path, folder: str) -> list[Row]:
    """Add the identity: the same file imported twice gives the same row ids."""
    text = json.dumps([row["reported"] for row in rows], sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    completed = []
    for number, row in enumerate(rows):
        fields = {name: row[name] for name in _IDENTIFYING if name in row}
        text = json.dumps([path.as_posix(), number, fields], sort_keys=True)
        identity = {
            "row_id": f"imported-{hashlib.sha256(text.encode()).hexdigest()[:24]}",
            # Never the id of a measurement: importing must not make a launch skip one.
            "run_id": hashlib.sha256(f"imported {text}".encode()).hexdigest()[:16],
            "attempt": 1,
            # The folder is the set, the digest keeps two files of one name apart.
            "sweep": f"import:{folder}/{path.with_suffix('').as_posix()}#{digest}",
            "source": "imported",
            "status": "ok",
            "schema_version": record.SCHEMA_VERSION,
        }
        reported = json.dumps({"file": path.as_posix(), **row["reported"]})
        completed.append(dict(record.complete(identity | row | {"reported": reported})))
    pa.Table.from_pylist(completed, schema=record.TRIALS)  # a wrong type raises here, by file
    return completed


def _bytes(mebibytes: float | None) -> int | None:
    return None if mebibytes is None else round(mebibytes * 2**20)


def write_files(files: Iterator[tuple[str, dict[str, Any]]], folder: Path) -> list[Path]:
    """Write (name, content) pairs as JSON below a folder. Raises `AnalysisError`."""
    written = []
    for name, content in files:
        path = folder / f"{name}.json"
        text = json.dumps(content, indent=2) + "\n"
        with writing(path):
            path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def reported(frame: pd.DataFrame, *, apart: bool = False) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (name, content) of the files that the imported rows of a frame came from.

    Field for field what was read; of an ablation, the entries whose rows the frame has.
    apart: name the files below their set even if there is only one set.
    """
    rows = frame[frame["source"].eq("imported") & frame["reported"].notna()]
    sets = reported_set(rows)
    several = apart or sets.nunique() > 1
    for _, part in rows.groupby("sweep", sort=False):
        texts = [json.loads(text) for text in part["reported"]]
        texts.sort(key=lambda one: one.get("entry", 0))
        content = dict(texts[0]["content"])
        if "entry" in texts[0]:
            content["results"] = [one["content"]["results"][0] for one in texts]
        below = f"{sets[part.index[0]].partition('/')[0]}/" if several else ""
        yield below + texts[0]["file"].removesuffix(".json"), content


def original(selection: Selection) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (file name, content) in the original experiment's format; unknown is null."""
    chosen = headline.select_headline(selection)
    for dataset in chosen.datasets:
        ours = plain_row(chosen.streaming.loc[dataset].to_dict())
        base = plain_row(chosen.baseline.loc[dataset].to_dict())
        if base["recompute_blocks"] is not None:  # the format knows whole texts only
            base["perplexity"] = ours["baseline_perplexity"]
        if ours["row_id"] is not None:
            name = dataset_name(dataset).replace(".", "_").replace("wikitext-103", "wikitext")
            yield f"{name}_result", _comparison(selection, dataset, chosen, ours, base)
    for varied in ("window_size", "n_sink"):
        try:
            data: ablation.Ablation = getattr(ablation, f"select_{varied}")(selection)
        except MissingRowsError:
            continue  # an ablation that was not run has no file
        rows = [plain_row(row) for row in data.rows.to_dict("records")]
        entries = [
            {
                "n_sink": row["n_sink"],
                "window_size": row["window_size"],
                "max_cache_size": row["budget"],
                **_values(row),
                "compression_ratio": row["compression_ratio"],
            }
            for row in rows
        ]
        head = _head(data.selection, data.dataset, rows[-1])
        yield f"ablation_{varied}", head | {"ablation_type": data.varied, "results": entries}


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
