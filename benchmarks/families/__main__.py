"""Census of every causal-LM type of the installed transformers; docs/models.md is made from it.

    python -m benchmarks.families                 all types, one line each
    python -m benchmarks.families llama gemma2    these
    python -m benchmarks.families --write         and put them into the record and docs/models.md

Ends with 1 if a type is accepted and wrong, or ends in anything but a verdict.
"""

import json
import traceback
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path

import click
import torch
import transformers

from benchmarks.families.census import Verdict, judge
from benchmarks.families.document import written
from benchmarks.families.tiny import MODEL_TYPES

RECORD = Path(__file__).with_name("census.json")
DOCUMENT = Path(__file__).parents[2] / "docs" / "models.md"


@click.command(help=__doc__)
@click.argument("model_types", nargs=-1)
@click.option("--jobs", default=2, show_default=True, help="Types judged at once.")
@click.option("--write", is_flag=True, help="Put the verdicts into the record and docs.")
def main(model_types: tuple[str, ...], jobs: int, *, write: bool) -> None:
    """Judge types and say what became of each."""
    verdicts = []
    with ProcessPoolExecutor(jobs, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for verdict in pool.map(_judged, model_types or MODEL_TYPES):
            verdicts.append(verdict)
            print(_line(verdict), flush=True)
    if write:
        known = json.loads(RECORD.read_text())["types"] if RECORD.exists() else []
        found = {entry["model_type"]: entry for entry in known}
        found |= {verdict.model_type: asdict(verdict) for verdict in verdicts}
        record = {
            "transformers": transformers.__version__,
            "types": [found[model_type] for model_type in MODEL_TYPES if model_type in found],
        }
        RECORD.write_text(json.dumps(record, indent=1) + "\n")
        DOCUMENT.write_text(written(DOCUMENT.read_text(), record))
    if any(verdict.status in ("wrong", "crashed") for verdict in verdicts):
        raise SystemExit(1)


def _judged(model_type: str) -> Verdict:
    try:
        return judge(model_type)
    except Exception:  # the census goes on and says so
        last = traceback.format_exc().strip().splitlines()
        return Verdict(model_type=model_type, status="crashed", reason=" / ".join(last[-3:]))


def _line(verdict: Verdict) -> str:
    numbers = "" if verdict.difference is None else f" {verdict.difference} (own {verdict.noise})"
    limit = "" if verdict.limit is None else f" up to {verdict.limit}"
    said = verdict.reason or ", ".join(verdict.traits)
    return f"{verdict.model_type}: {verdict.status}{limit}{numbers} {said}"


if __name__ == "__main__":
    main()
