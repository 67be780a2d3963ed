"""The command that makes the rows a figure lacks, ready to paste into a shell."""

import json
import shlex
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from analysis.rows.comparable import Selection
from analysis.rows.frames import is_missing
from analysis.rows.pairing import TEXT_CHOICES
from workers.contract.spec import DEFAULTS

GRID_FILE = "missing.yaml"
CARRIED = (
    *("model", "dtype", "dataset", "split", "max_documents", "max_tokens", "seed"),
    *TEXT_CHOICES,
)
TIMING = ("decode_tokens", "warmup_tokens", "repeats")


def command(selection: Selection, entries: Sequence[Mapping[str, Any]]) -> str:
    """Return a shell command that launches these grid entries into the selection's store."""
    grid = json.dumps({"sweep": "missing", "grids": [dict(entry) for entry in entries]})
    launch = f"sweep launch --grid {GRID_FILE} --store {shlex.quote(selection.store)}"
    # An escape inside JSON would be one to the `echo` of some shells, too.
    write = "printf '%s'" if "\\" in grid else "echo"
    return f"{write} {shlex.quote(grid)} > {GRID_FILE} && {launch}"


def entry(like: Mapping[Hashable, Any], **changes: Any) -> dict[str, Any]:
    """Return a grid entry with a row's model, text and timing, and the given changes."""
    fields = {name: like[name] for name in (*CARRIED, *TIMING) if not is_missing(like.get(name))}
    given = {name: _plain(value) for name, value in (fields | changes).items()}
    return {name: value for name, value in given.items() if DEFAULTS.get(name) != value}


def _plain(value: Any) -> Any:
    """Turn numpy numbers and whole floats (a nullable count in pandas) into JSON's."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, str | bool) or value is None:
        return value
    return int(value)
