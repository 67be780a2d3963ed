"""The GPU table of docs/benchmarks.md, written from the files of `make bench-gpu`.

    python -m benchmarks.tables [--check] [FILE …]

Without files: those in benchmarks/measured/. A figure stands in the table only if it stands in a
file; what no file holds says "not measured". A smoke run measures nothing and is refused.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from benchmarks.gpu import MEASURED

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
BEGIN, END = "<!-- gpu table: python -m benchmarks.tables -->", "<!-- end of the gpu table -->"
NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Row:
    """One line of the table: what it is, and where in a file its figure stands."""

    what: str
    wanted: str
    part: str
    figure: str
    form: str
    """How the figure is written, for `format`."""


ROWS: tuple[Row, ...] = (
    Row(
        "parallel pass, pythia-70m shape, 4 + 1024",
        ">= 1,000,000 tokens per second",
        *("nll pythia-70m", "parallel_tokens_per_second", "{:,.0f} tokens per second"),
    ),
    Row(
        "… share of the matrix rate",
        "",
        *("nll pythia-70m", "parallel_share_of_matrix_rate", "{:.0%}"),
    ),
    Row("… attention kernel", "FlashAttention", "nll pythia-70m", "kernel", "{}"),
    Row(
        "the same as a plain token loop on a ring",
        "",
        *("nll pythia-70m", "loop_ms_per_token", "{:.3f} ms per token"),
    ),
    Row("loop / parallel pass", "", "nll pythia-70m", "ratio", "{:,.0f}x"),
    Row(
        "decode step, pythia-70m shape, 4 + 1024",
        "<= 0.25 ms",
        *("decode pythia-70m", "ring_ms", "{:.3f} ms"),
    ),
    Row("… recorded in a CUDA graph", "yes", "decode pythia-70m", "ring_recorded", "{}"),
    Row("… unrecorded", "", "decode pythia-70m", "ring_unrecorded_ms", "{:.3f} ms"),
    Row(
        "… concatenate and re-rotate / ring",
        "",
        *("decode pythia-70m", "concatenate_over_ring", "{:.1f}x"),
    ),
    Row(
        "decode step, llama-2-7b shape, 4 + 4092",
        "",
        *("decode llama-2-7b", "ring_ms", "{:.2f} ms"),
    ),
    Row(
        "… over one reading of weights and cache",
        "<= 1.3x",
        *("decode llama-2-7b", "ring_over_one_reading_of_weights_and_cache", "{:.2f}x"),
    ),
    Row("decode step, demo model, 4 + 508", "", "decode demo", "ring_ms", "{:.3f} ms"),
    *(
        Row(f"{what}, {model} shape, budget {budget:,}", wanted, f"recompute {model}", figure, form)
        for model, budget in (("pythia-70m", 1028), ("pythia-2.8b", 2048), ("llama-2-7b", 4096))
        for what, wanted, figure, form in (
            ("recompute / streaming", "", "ratio", "{:.1f}x"),
            (
                "recompute, share of the matrix rate",
                "" if model == "pythia-70m" else ">= 60 %",
                "recompute_share_of_matrix_rate",
                "{:.0%}",
            ),
        )
    ),
    Row("recompute / streaming, demo model, budget 128", "", "recompute demo", "ratio", "{:.1f}x"),
    *(
        Row(
            f"{dtype} less float32, mean loss, {model}, 20,000 tokens of `pydoc`",
            "<= 5e-3 nats",
            *(f"precision {model}", f"{dtype}_less_float32_nats", "{:.1e} nats"),
        )
        for model in ("demo", "smollm2-135m")
        for dtype in ("bfloat16", "float16")
    ),
)


def table(files: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of these runs, one column per run; without runs, that nothing is measured.

    Raises `ValueError` for a smoke run.
    """
    if any(one["smoke"] for one in files):
        raise ValueError("a smoke run measures nothing: no table is made of it")
    names = [f"{one['device']}, {one['date']}, torch {one['torch']}" for one in files]
    lines = [
        "| what | wanted | " + " | ".join(names or ["one H200-class GPU"]) + " |",
        "| --- | --- |" + " --- |" * max(1, len(files)),
    ]
    for row in ROWS:
        cells = [cell(row, one) for one in files] or [NOT_MEASURED]
        lines.append(f"| {row.what} | {row.wanted} | {' | '.join(cells)} |")
    checks = [_checks(one) for one in files] or [NOT_MEASURED]
    return "\n".join([*lines, f"| checks that passed | all | {' | '.join(checks)} |"])


def cell(row: Row, file: Mapping[str, Any]) -> str:
    """Return the figure of a run for one row, or that it was not measured, and why."""
    part = _part(file, row.part)
    value = part.get("figures", {}).get(row.figure)
    if value is None:
        why = part.get("status", "ok")
        return NOT_MEASURED + ("" if why == "ok" else f" ({why})")
    return row.form.format(value)


def _checks(file: Mapping[str, Any]) -> str:
    checks = _part(file, "checks").get("figures", {}).get("checks")
    if not checks:
        return NOT_MEASURED
    failed = [check["name"] for check in checks if not check["passed"]]
    failures = f"; failed: {', '.join(failed)}" if failed else ""
    return f"{len(checks) - len(failed)} of {len(checks)}{failures}"


def _part(file: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return next((part for part in file["parts"] if part["part"] == name), {})


def page_with(text: str, new: str) -> str:
    """Return the page with the table between its marks replaced."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{new}\n{END}{after}"


def measured(paths: Sequence[Path] = ()) -> list[dict[str, Any]]:
    """Return the runs of these files, or of all that are committed, the oldest first."""
    found = [json.loads(path.read_text()) for path in paths or sorted(MEASURED.glob("*.json"))]
    return sorted(found, key=lambda one: (str(one["date"]), str(one["device"])))


@click.command(help=__doc__)
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--check", is_flag=True, help="Write nothing; exit code 1 if the page differs.")
def main(paths: tuple[Path, ...], check: bool) -> None:
    """Write the table into the page."""
    text = PAGE.read_text()
    try:
        new = page_with(text, table(measured(paths)))
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if check and new != text:
        raise click.ClickException(
            f"{PAGE.name} differs from the files: python -m benchmarks.tables"
        )
    if not check:
        PAGE.write_text(new)


if __name__ == "__main__":
    main()
