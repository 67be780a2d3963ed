"""One HTML page that holds everything about a store: no network, no second file.

The page is `templates/report.html.j2`; Jinja2 escapes every value that goes into it. Paths are
shortened before anything is drawn, so that no folder of this machine can appear anywhere.
"""

import base64
import re
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from analysis.drawing import captions
from analysis.drawing.style import Look
from analysis.errors import DoesNotFitError, MissingRowsError, writing
from analysis.figures import registry
from analysis.outputs import audit
from analysis.outputs.columns import COLUMNS, SUMMARY, block_rows, prepared
from analysis.rows import blocks, comparable
from analysis.rows.comparable import Selection, on_one_text
from analysis.rows.frames import is_missing
from analysis.rows.rules import broken_rules
from orchestrator.store.store import Store
from orchestrator.words import counted
from workers.contract.file_datasets import FILE_PREFIX
from workers.contract.spec import is_local_model

LOOK = Look(with_title=False, with_caption=False)
"""Title and caption are text of the page."""
MOST_ROWS = 5000
MOST_GROUPS = 12
"""What one page holds; the page says what it leaves out."""
PROVENANCE = (
    *("source", "sweep", "model", "model_revision", "dtype", "device_name", "num_threads"),
    *("torch_version", "transformers_version", "cuda_version", "python_version"),
    *("git_commit", "git_dirty", "eval_version"),
)
FILTERS = {
    "model": "model_name",
    "text": "dataset_name",
    "method": "method_label",
    "device": "device_name",
}
"""What the results can be filtered by, and the column it is read from."""
SHOWN = ("model", "dtype", "device", *SUMMARY[:5], "latency", *SUMMARY[5:])
READING = (
    "Perplexities are compared on the same model, number format, text and evaluation version; "
    "speeds also on the same device, thread count, versions and timing settings. What has no "
    "comparable baseline has no speedup and no increase.",
    "Brackets are 95 % intervals: with four documents or more for documents like these, with "
    "fewer for other passages of these documents. That of an increase is paired over the same "
    "blocks; one that contains zero shows no difference. Of a speedup and a runtime they span the "
    "repeats.",
    "A dash, an absent bar or an empty cell is a value that was not measured. A star behind a "
    "method, or a hollow point: no token was evicted, or the cache is beyond the trained "
    "positions. What the audit calls unusable has a dagger and is compared with nothing.",
)
TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("analysis.outputs"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
)
HASH = re.compile(r"\A([0-9a-f]{12})[0-9a-f]{20,}\Z")
"""What is shortened to what identifies it at sight."""


def render_report(store: Store, frame: pd.DataFrame, *, stride: int = 1, refresh: int = 0) -> str:
    """Return the page: every result, the findings over them, the figures of each group.

    refresh: seconds after which a browser reads the page again; 0: never.
    """
    template = TEMPLATES.get_template("report.html.j2")
    if frame.empty:
        return template.render(extent=f"{_name(store)}: no results yet.", rows=[], refresh=refresh)
    frame = without_folders(frame)
    groups = comparable.each(frame, store=_name(store), stride=stride)
    groups.sort(key=lambda group: -len(group.rows))
    order = ["model", "dtype", "device_name", "dataset", "method", "budget", "n_sink"]
    shown = frame.sort_values(order, kind="stable", ignore_index=True).head(MOST_ROWS)
    sums = blocks.read(store, block_rows(shown))
    broken, imported = ", ".join(broken_rules(frame)), frame["source"].eq("imported")
    notes = {
        f"† cannot be used ({broken}) and is compared with nothing.": bool(broken),
        "* never evicted a token, or beyond the trained positions.": frame["hollow"].any(),
        "Imported results are as reported, not measured here.": imported.any(),
    }
    first = {str(place): group for place, group in enumerate(groups[:MOST_GROUPS])}
    return template.render(
        extent=_extent(store, frame, groups),
        refresh=refresh,
        **_results(prepared(shown, sums)),
        notes=[note for note, applies in notes.items() if applies],
        findings=audit.audit(frame),
        groups=[_group(store, one) for one in on_one_text(first).values()],
        provenance=_provenance(frame),
        reading=READING,
    )


def write_report(page: str, path: Path) -> None:
    """Write the page, whole or not at all. Raises `AnalysisError` where that is not possible."""
    beside = path.with_name(f"_{path.name}")
    with writing(path):
        beside.write_text(page, encoding="utf-8")
        beside.replace(path)


def without_folders(frame: pd.DataFrame) -> pd.DataFrame:
    """Shorten the paths of models and texts to what tells them apart."""
    texts = {
        name: FILE_PREFIX + short
        for name, short in _tails(
            frame["dataset"], lambda name: name.startswith(FILE_PREFIX)
        ).items()
    }
    models = _tails(frame["model"], is_local_model)
    return frame.assign(
        dataset=frame["dataset"].replace(texts), model=frame["model"].replace(models)
    )


def _tails(values: "pd.Series[Any]", is_path: Any) -> dict[str, str]:
    """Return the shortest ends of paths by which they differ."""
    paths = [str(value) for value in values.dropna().unique() if is_path(str(value))]
    parts = {path: path.removeprefix(FILE_PREFIX).rstrip("/").split("/") for path in paths}
    tails = {}
    for path, own in parts.items():
        for length in range(1, len(own) + 1):
            tail = own[-length:]
            if sum(other[-length:] == tail for other in parts.values()) == 1:
                break
        tails[path] = "/".join(tail)
    return tails


def _name(store: Store) -> str:
    """Return a store's name without the folders of this machine."""
    return store.storage.local_root.name if store.storage.local_root else store.uri


def _extent(store: Store, frame: pd.DataFrame, groups: Sequence[Selection]) -> str:
    parts = [f"{counted(len(frame), 'result')} in {_name(store)}."]
    if len(frame) > MOST_ROWS:
        parts.append(f"The first {MOST_ROWS:,} are listed; analysis table --all has every one.")
    if len(groups) > MOST_GROUPS:
        parts.append(
            f"Figures of the {MOST_GROUPS} largest of {len(groups)} groups of model, number format "
            "and device; analysis report --where shows others."
        )
    return " ".join(parts)


def _results(rows: pd.DataFrame) -> dict[str, Any]:
    """Return heads, rows of cells with what they sort by, and filters with their choices.

    The kind of a cell is its class in the page: `t` a text, `n` a number, `id` a run id.
    """
    columns = [COLUMNS[name] for name in SHOWN]
    heads = [{"title": one.titled, "kind": "t" if one.is_text else "n"} for one in columns]
    heads[SHOWN.index("cache")]["kind"] = "n"
    heads.append({"title": "run id", "kind": "id"})
    lines = []
    for row in rows.to_dict("records"):
        cells = []
        for one, head in zip(columns, heads, strict=False):
            words = one.words(row, ranges=one.name in ("perplexity", "increase"), units=False)
            text, bracket, rest = words.partition(" [")
            value = row["budget" if one.name == "cache" else one.value]
            known = "" if is_missing(value) else value
            cells.append(
                {"text": text, "range": bracket.strip() + rest, "sort": known, "kind": head["kind"]}
            )
        run_id = row["run_id"]
        cells.append({"text": run_id, "range": "", "sort": run_id, "kind": "id"})
        marks = {key: _filled(row[column]) for key, column in FILTERS.items()}
        lines.append({"cells": cells, "marks": marks})
    filters = [
        {"key": key, "title": key, "choices": sorted(set(map(_filled, rows[column])) - {""})}
        for key, column in FILTERS.items()
    ]
    return {"heads": heads, "rows": lines, "filters": filters}


def _filled(value: object) -> str:
    return "" if is_missing(value) else str(value)


def _group(store: Store, selection: Selection) -> dict[str, Any]:
    """Draw the figures of one comparable group; titles and captions are given as text."""
    drawn, missing = [], []
    for name in registry.FAMILIES:
        try:
            one = registry.picture(store, {"": selection}, name, LOOK)
        except MissingRowsError as error:
            missing.append(f"{name.replace('_', ' ')} is not drawn: {error.what}.")
            continue
        except DoesNotFitError as error:  # it would need a wider page
            missing.append(f"{name.replace('_', ' ')} is not drawn: {error.why}.")
            continue
        file = BytesIO()
        with LOOK.drawing():
            one.figure.savefig(file, format="svg", metadata={"Date": None})
        source = f"data:image/svg+xml;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
        drawn.append({"title": one.title, "caption": one.caption, "source": source})
    return {
        "model": captions.model_name(str(selection.setting["model"])),
        "device": _filled(selection.setting["device_name"]),
        "setting": " ".join(captions.setting(selection, LOOK)),
        "figures": drawn,
        "missing": missing,
    }


def _provenance(frame: pd.DataFrame) -> dict[str, Any]:
    counts = frame.groupby(list(PROVENANCE), dropna=False, sort=False).size()
    rows = counts.reset_index(name="results").to_dict("records")
    names = [
        name for name in (*PROVENANCE, "results") if any(not is_missing(r[name]) for r in rows)
    ]
    cells = []
    for row in rows:
        values = ["" if is_missing(row[name]) else row[name] for name in names]
        whole = [int(v) if isinstance(v, float) and v.is_integer() else v for v in values]
        cells.append([HASH.sub(r"\1", str(value)) for value in whole])
    return {"names": [name.replace("_", " ") for name in names], "rows": cells}
