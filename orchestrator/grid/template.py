"""`sweep init`: a commented grid for this machine, a model and a text, to be edited by hand.

Asks nothing and loads no model: what is known is read off the machine and the model's
configuration, and the rest is said in a comment beside its value.
"""

import json
from importlib import resources
from pathlib import Path
from typing import Any

from orchestrator.errors import GridError
from orchestrator.grid.load import build_grid
from workers.contract.file_datasets import FILE_PREFIX, expanded
from workers.contract.spec import NAMED_DATASETS

WINDOWS = (60, 124, 252, 508, 1020, 2044)
"""With 4 sinks, budgets that are powers of two; as many as the trained positions have room for."""
SINKS = (0, 1, 2, 4, 8)
UNKNOWN_LENGTH = 2048
"""Trained positions assumed where the configuration is not on this machine."""

TEXT = """\
# Made by `sweep init`. What it costs, before anything runs:
#   sweep plan --grid {file}
# Run it; the same command continues after an interruption:
#   sweep launch --grid {file}
sweep: {name}

defaults:
  model: {model}
  dataset: {dataset}
  dtype: {dtype}{why_dtype}
  n_sink: 4                 # first tokens that stay in the cache
  window_size: {window}{window_space}# recent tokens that stay; the cache holds n_sink + window_size
  max_documents: 4          # leave out to read the whole text
  max_tokens: {tokens}{token_space}# per document; {why_tokens}
  decode_tokens: 64         # timed steps; the more, the steadier

resources: {{gpus: {gpus}}}        # per evaluation; {why_gpus}

grids:
  # The comparison: the paper's baseline, StreamingLLM, a window without sinks, all that fits.
  - {{method: [recompute, streaming, window, dense]}}
  # How large a cache is enough? {why_windows}
  - {{method: streaming, window_size: {windows}}}
  # How many sinks does this model need?
  - {{method: streaming, n_sink: {sinks}}}
"""


def grid_text(model: str, text: str, file: str, *, gpus: int) -> str:
    """Return a grid file. Raises `GridError` for a model or a text that cannot be used.

    text: a data set by name, or the path of a file, a folder or a pattern.
    """
    dataset = text
    if text not in NAMED_DATASETS and not text.startswith(FILE_PREFIX):
        lacks_slash = Path(text).is_dir() and text[-1:] != "/"
        dataset = f"{FILE_PREFIX}{text}{'/' if lacks_slash else ''}"
    positions = _positions(model)
    length = positions or UNKNOWN_LENGTH
    room = length - max(SINKS) - 1  # the newest token is not in the cache
    windows = [window for window in WINDOWS if window <= room] or [max(1, room)]
    window, tokens = windows[-1], 4 * length
    whose = f"the model was trained on {length:,}" if positions else "more than any cache here"
    written = TEXT.format(
        file=file,
        name="".join(c if c.isalnum() and c.isascii() else "-" for c in Path(file).stem.lower()),
        model=json.dumps(model),  # JSON strings are YAML
        dataset=json.dumps(dataset),
        dtype="float16" if gpus else "float32",
        why_dtype="" if gpus else "            # float16 and bfloat16 are for GPUs",
        window=window,
        window_space=" " * (13 - len(str(window))),
        tokens=tokens,
        token_space=" " * (14 - len(str(tokens))),
        why_tokens=f"{whose} positions" if positions else whose,
        gpus=gpus,
        why_gpus="this machine has one" if gpus else "this machine has none",
        windows=windows,
        why_windows="Beyond the trained positions nothing is learned." if positions else "",
        sinks=list(SINKS),
    )
    _check(model, dataset)
    return "\n".join(line.rstrip() for line in written.splitlines()) + "\n"


def has_gpu() -> bool:
    """Tell whether this machine has an NVIDIA GPU, without loading torch."""
    return any(Path("/proc/driver/nvidia/gpus").glob("*"))


def _positions(model: str) -> int | None:
    shipped = resources.files("workers") / "demo"
    folder = shipped if model == "demo" else expanded(model)
    try:
        values: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    values = values.get("text_config") or values
    found = values.get("max_position_embeddings") or values.get("n_positions")
    return found if isinstance(found, int) and found > 4 else None


def _check(model: str, dataset: str) -> None:
    """Refuse what a launch would refuse. A Hub model may be out of reach from here."""
    entry = {"model": model, "dataset": dataset, "method": "dense", "max_tokens": 64}
    try:
        build_grid({"sweep": "check", "grids": [entry]})
    except GridError as error:
        wrong = [problem for problem in error.problems if "Hub" not in problem.message]
        if wrong:
            raise GridError(wrong) from error
