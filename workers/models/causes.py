"""Why a model does not load, in words that say what to do.

What transformers raises names a line of its own code more often than the fault in the folder, so
the folder is looked at first: what a person can mend is found there.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import transformers
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from workers.contract.failures import first_line
from workers.models.sources import Source

_LFS = b"version https://git-lfs.github.com/spec/"
_PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "model.pth", "pytorch_model.pt")
_INDEX = "model.safetensors.index.json"


def fault_of(source: Source) -> str | None:
    """Return what is wrong with the files of a model that did not load, if that can be seen."""
    return next(_faults(source, source.folder), None) if source.folder else None


def words_of(source: Source, error: Exception) -> str:
    """Return the error of a model whose files show no fault, and what may help."""
    said = first_line(str(error))
    said = said if isinstance(error, OSError | ValueError | ImportError) else f"{error!r:.300}"
    if isinstance(error, ImportError):
        return f"a package is missing: {said}; install it on every machine that evaluates"
    if source.is_remote:
        return f"cache it first (`hf download`), or use a local folder or `model: demo` ({said})"
    if source.gguf is not None:
        return f"transformers {transformers.__version__} cannot read this GGUF file ({said})"
    return f"the folder must hold config.json, safetensors weights and tokenizer files ({said})"


def _faults(source: Source, folder: Path) -> Iterator[str]:
    """Yield what is wrong with the files of a folder, the likeliest cause first."""
    files = [source.gguf] if source.gguf else sorted(p for p in folder.iterdir() if p.is_file())
    yield from (
        f"{path.name} is a Git LFS pointer, not the file itself: run `git lfs pull` in its folder"
        for path in files
        if path.suffix != ".md" and _starts_with(path, _LFS)
    )
    if source.gguf is not None:
        if not _starts_with(source.gguf, b"GGUF"):
            yield f"{source.gguf.name} is no GGUF file: it does not begin with the letters GGUF"
        return
    yield from _config_faults(source, folder)
    yield from _weight_faults(folder)
    present = {path.name for path in files}
    if "tokenizer.json" not in present and "vocab.json" in present and "merges.txt" not in present:
        yield "vocab.json has no merges.txt beside it, without which it cannot split a word"


def _config_faults(source: Source, folder: Path) -> Iterator[str]:
    config = _json(folder / "config.json")
    if config is None:
        yield "config.json is missing, or is no JSON object"
        return
    kind = config.get("model_type")
    own_code = "auto_map" in config
    if own_code and not source.arguments["trust_remote_code"] and not _known_type(kind):
        yield (
            f"model_type {kind!r} is code that the checkpoint brings along; set "
            "`trust_remote_code: true` if you trust it"
        )
    elif not own_code and not _known_type(kind):
        yield (
            f"model_type {kind!r} is unknown to transformers {transformers.__version__}: it needs "
            "a newer transformers, or the code of its authors (`trust_remote_code: true`)"
        )
    for part in (config, config.get("text_config") or {}):
        rope = part.get("rope_parameters") or part.get("rope_scaling") or {}
        name = rope.get("rope_type", rope.get("type"))
        if name is not None and name not in {*ROPE_INIT_FUNCTIONS, "default", "mrope"}:
            known = ", ".join(sorted({*ROPE_INIT_FUNCTIONS, "default"}))
            yield (
                f"rope type {name!r} is unknown to transformers {transformers.__version__} "
                f"(known: {known}): it needs a newer transformers"
            )


def _known_type(kind: Any) -> bool:
    return isinstance(kind, str) and kind in transformers.CONFIG_MAPPING


def _weight_faults(folder: Path) -> Iterator[str]:
    index = _json(folder / _INDEX)
    named = sorted(set((index or {}).get("weight_map", {}).values()))
    for name in named:
        if not (folder / name).is_file():
            yield f"{_INDEX} names {name}, which is not there"
    weights = sorted({*folder.glob("*.safetensors"), *(folder / name for name in named)})
    if not weights:
        pickles = [name for name in _PICKLES if (folder / name).is_file()]
        yield "there are no safetensors weights" + (
            f", only {', '.join(pickles)}, which is a pickle and may run any code: convert it with "
            "save_pretrained"
            if pickles
            else " (model.safetensors, or shards and their index)"
        )
    for path in weights:
        if fault := _safetensors_fault(path):
            yield fault


def _safetensors_fault(path: Path) -> str | None:
    """Compare a file with what its own header says: 8 bytes of length, JSON, then the data."""
    size = path.stat().st_size
    if _starts_with(path, _LFS):
        return f"{path.name} is a Git LFS pointer, not the file itself: run `git lfs pull`"
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(length) if 8 + length <= size else b""
    try:
        tensors = json.loads(header)
        ends = [item["data_offsets"][1] for key, item in tensors.items() if key != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{path.name} is no safetensors file, or was cut off: its header cannot be read"
    expected = 8 + length + max(ends, default=0)
    if size < expected:
        return (
            f"{path.name} is truncated: {size:,} bytes where its header announces {expected:,}; "
            "copy or download it again"
        )
    return None if size == expected else f"{path.name} has {size - expected:,} bytes too many"


def _starts_with(path: Path, beginning: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(beginning)) == beginning


def _json(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
