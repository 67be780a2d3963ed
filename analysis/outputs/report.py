"""One HTML page that holds everything about a store: no script, no network, no second file."""

import base64
import html
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from analysis.drawing import captions
from analysis.drawing.style import Look
from analysis.errors import AnalysisError, MissingRowsError
from analysis.figures import registry, results_summary
from analysis.outputs import audit
from analysis.outputs.audit import Finding
from analysis.rows import blocks
from analysis.rows.comparable import Selection
from analysis.rows.frames import is_missing
from orchestrator.store.store import Store

LOOK = Look(dpi=160)
PROVENANCE = (
    "source",
    "sweep",
    "model",
    "model_revision",
    "dtype",
    "device_name",
    "num_threads",
    "torch_version",
    "transformers_version",
    "cuda_version",
    "python_version",
    "git_commit",
    "git_dirty",
    "eval_version",
)
HEADS = {
    "dataset": "text",
    "runtime": "runtime (ms)",
    "increase": "perplexity increase",
}
STYLE = """
:root{color-scheme:light}
body{font:16px/1.55 system-ui,"DejaVu Sans",sans-serif;color:#22272b;max-width:68rem;
 margin:2.5rem auto;padding:0 1.25rem}
h1{font-size:1.8rem;margin:0 0 .3rem}h2{font-size:1.25rem;margin:2.6rem 0 .6rem}
p{margin:.4rem 0}.quiet{color:#57606a}
img{width:100%;height:auto;border:1px solid #e3e7ea;border-radius:6px}
figure{margin:1rem 0 1.8rem}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.875rem}
th,td{text-align:left;padding:.35rem .7rem .35rem 0;border-bottom:1px solid #e3e7ea;
 vertical-align:top}
td.n,th.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
code{font:.85em ui-monospace,"DejaVu Sans Mono",monospace;background:#f3f5f7;padding:.1em .3em;
 border-radius:3px;overflow-wrap:anywhere}
.error{color:#b3261e;font-weight:600}.warning{color:#8a5300;font-weight:600}.note{color:#57606a}
details{margin:.2rem 0}summary{cursor:pointer}
@media print{body{max-width:none;margin:0}figure{break-inside:avoid}}
"""


def render(store: Store, frame: pd.DataFrame, selection: Selection) -> str:
    """Return the page: findings over the whole frame, figures and table of the selection."""
    parts = [
        "<h1>SinkSweep report</h1>",
        f"<p>{_text(' '.join(captions.setting(selection, LOOK)))}</p>",
        f'<p class="quiet">{_text(_extent(frame, selection))}</p>',
        "<h2>Results</h2>",
        _results(store, selection),
        "<h2>What to be careful about</h2>",
        _findings(audit.audit(frame)),
        "<h2>Figures</h2>",
        *_figures(store, selection),
        "<h2>Provenance</h2>",
        _provenance(frame),
        "<h2>How to read this</h2>",
        _reading(),
    ]
    head = f'<meta charset="utf-8"><title>SinkSweep report</title><style>{STYLE}</style>'
    viewport = '<meta name="viewport" content="width=device-width,initial-scale=1">'
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}{viewport}</head>\n'
        f"<body>\n{body}\n</body></html>\n"
    )


def write(page: str, path: Path) -> None:
    """Write the page. Raises `AnalysisError` for a place that cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise AnalysisError(f"cannot write {path}: {error.strerror or error}") from error


def _extent(frame: pd.DataFrame, selection: Selection) -> str:
    shown = f"{len(frame)} results in {selection.store}, {len(selection.rows)} of them comparable."
    return " ".join([shown, *captions.left_out(selection, LOOK)])


def _results(store: Store, selection: Selection) -> str:
    try:
        data = results_summary.select(selection)
    except MissingRowsError as error:
        return _lacking([error])
    lines = list(results_summary.lines(data, blocks.read(store, data.block_rows)))
    heads = [HEADS.get(name, name) for name in results_summary.COLUMNS]
    cells = [[line[name] for name in results_summary.COLUMNS] for line in lines]
    notes = f'<p class="quiet">{_text(" ".join(results_summary.notes(data, LOOK)))}</p>'
    return _table(heads, cells, numbers_from=2) + notes + _lacking(data.missing)


def _findings(found: Sequence[Finding]) -> str:
    if not found:
        return "<p>The audit has no findings.</p>"
    return "\n".join(
        f'<details><summary><span class="{one.severity}">{one.severity}</span> '
        f"{_text(one.message)} ({len(one.rows)})</summary>"
        f"<p class='quiet'>{_text('; '.join(one.rows))}</p></details>"
        for one in found
    )


def _figures(store: Store, selection: Selection) -> Iterator[str]:
    for name in registry.FAMILIES:
        try:
            figure, missing = registry.draw(store, selection, name, LOOK)
        except MissingRowsError as error:
            yield f"<p>{_text(name)} is not drawn.</p>{_lacking([error])}"
            continue
        title = next(text.get_text() for text in figure.texts if text.get_gid() == "title")
        source = f"data:image/png;base64,{_png(figure)}"
        yield f'<figure><img src="{source}" alt="{_text(title)}"></figure>{_lacking(missing)}'


def _png(figure: Figure) -> str:
    file = BytesIO()
    with replace(LOOK).drawing():
        figure.savefig(file, format="png", dpi=LOOK.dpi)
    return base64.b64encode(file.getvalue()).decode("ascii")


def _provenance(frame: pd.DataFrame) -> str:
    counts = frame.groupby(list(PROVENANCE), dropna=False, sort=False).size()
    rows = counts.reset_index(name="results").to_dict("records")
    names = [
        name for name in (*PROVENANCE, "results") if any(not is_missing(r[name]) for r in rows)
    ]
    cells = [["" if is_missing(row[name]) else _short(row[name]) for name in names] for row in rows]
    return _table([name.replace("_", " ") for name in names], cells, numbers_from=len(names))


def _short(value: object) -> str:
    """Shorten hashes to what identifies them at sight."""
    written = str(value)
    is_hash = len(written) >= 32 and all(letter in "0123456789abcdef" for letter in written)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return written[:12] if is_hash else written


def _reading() -> str:
    sentences = (
        "Perplexities are compared on the same model, number format, text and evaluation version; "
        "speeds also on the same device, thread count, versions and timing settings. What has no "
        "comparable baseline has no speedup and no increase.",
        "Intervals are 95 % block-bootstrap intervals on these documents; an interval of a "
        "difference is paired over the same blocks. They say nothing about other texts.",
        "A dash, an absent bar or an empty cell is a value that was not measured. Hollow points "
        "never evicted a token or lie beyond the trained positions.",
    )
    return "\n".join(f"<p>{_text(sentence)}</p>" for sentence in sentences)


def _lacking(missing: Iterable[MissingRowsError]) -> str:
    return "".join(
        f'<p class="quiet">Missing: {_text(one.what)}. <code>{_text(one.command)}</code></p>'
        for one in missing
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, numbers_from: int) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        written = [
            f"<{tag}{' class=n' if column >= numbers_from else ''}>{_text(cell)}</{tag}>"
            for column, cell in enumerate(cells)
        ]
        return f"<tr>{''.join(written)}</tr>"

    body = "\n".join(line(row, "td") for row in rows)
    return f'<div class="scroll"><table><thead>{line(heads, "th")}</thead>\n{body}</table></div>'


def _text(value: str) -> str:
    return html.escape(value, quote=True)
