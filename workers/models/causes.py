"""Why a model does not load, in words that say what to do.

What transformers raises names a line of its own code more often than the fault in the folder, so
the folder is looked at first: what a person can mend is found there.
"""

import codecs
import itertools
import json
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import tokenizers
import transformers
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from workers.contract.failures import first_line
from workers.models.sources import Source

_LFS = b"version https://git-lfs.github.com/spec/"
_PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "model.pth", "pytorch_model.pt")
_INDEX = "model.safetensors.index.json"
_OTHER_FILES = {b"<": "a web page or XML", b"PK\x03\x04": "a zip archive or a pickle of torch"}
_OLD_ROPE_TYPES = {"su": "longrope"}
"""Names of Phi-3's first checkpoints."""
_TOKENIZER_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
_TOKENIZER_FILES = (
    *_TOKENIZER_SETTINGS,
    *("tokenizer.json", "tekken.json", "vocab.json", "vocab.txt", "merges.txt"),
    *("*.model", "*.tiktoken"),
)


def fault_of(source: Source, *, tokenizer: bool = True) -> str | None:
    """Return what is wrong with the files of a model that did not load, if that can be seen.

    Without the tokenizer's files it is nothing that a model would load with.
    """
    if source.folder is None:
        return None
    faults = _gguf_faults(source.gguf) if source.gguf else _folder_faults(source, source.folder)
    found = itertools.chain(faults, _tokenizer_faults(source) if tokenizer else ())
    return next(found, None)


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
    if "Unrecognized configuration class" in said:
        config = source.folder and _json(source.folder / "config.json")
        kind = (config or {}).get("model_type")
        return f"model_type {kind!r} is no causal language model for transformers ({said:.150})"
    if "untagged enum" in said:
        return (
            f"tokenizer.json is damaged, or was written by a newer release than tokenizers "
            f"{tokenizers.__version__} ({said:.150})"
        )
    return (
        f"its files are all there, and transformers {transformers.__version__} does not accept "
        f"what is in them ({said})"
    )


def _gguf_faults(file: Path) -> Iterator[str]:
    yield from _absence(file)
    if not _starts_with(file, b"GGUF"):
        yield f"{file.name} is no GGUF file: it does not begin with the letters GGUF"


def _folder_faults(source: Source, folder: Path) -> Iterator[str]:
    """Yield what is wrong with the files of a folder, the likeliest cause first."""
    weights = weight_files(folder)
    for path in (folder / "config.json", *weights):
        yield from _absence(path)
    yield from _config_faults(source, folder)
    yield from _weight_faults(folder, weights)


def _tokenizer_faults(source: Source) -> Iterator[str]:
    if source.gguf is not None or source.folder is None:
        return
    folder = source.folder
    found = {path.name: path for name in _TOKENIZER_FILES for path in sorted(folder.glob(name))}
    for path in found.values():
        yield from _absence(path)
        if path.suffix == ".json":
            yield from _json_faults(path)
    settings = _json(folder / "tokenizer_config.json") or {}
    if "auto_map" in settings and not source.arguments["trust_remote_code"]:
        yield (
            "tokenizer_config.json names code that the checkpoint brings along; set "
            "`trust_remote_code: true` if you trust it"
        )
    if not found.keys() - set(_TOKENIZER_SETTINGS):
        yield "there are no tokenizer files (tokenizer.json, tokenizer.model, or vocab.json, …)"
    if "tokenizer.json" in found:
        return
    if "vocab.json" in found and "merges.txt" not in found:
        yield "vocab.json has no merges.txt beside it, without which it cannot split a word"
    if "tokenizer.model" in found:
        yield from _pieces_faults(found["tokenizer.model"])


def _pieces_faults(file: Path) -> Iterator[str]:
    data = file.read_bytes()
    if find_spec("sentencepiece") is None:
        yield f"{file.name} is read with a package that is missing: pip install sentencepiece"
    elif re.match(rb"[A-Za-z0-9+/]+=* \d+\r?\n", data):
        yield (
            f"{file.name} is a tiktoken file, which is read with the package tiktoken: run: "
            "pip install tiktoken blobfile"
        )
    elif sentencepiece_of(file) is None or not data:
        yield f"{file.name} is no SentencePiece model, or was cut off"


def sentencepiece_of(path: Path) -> Any | None:
    """Return the SentencePiece model in a file, or None if it holds none."""
    import sentencepiece  # not everywhere, and needed by few models

    try:
        return sentencepiece.SentencePieceProcessor(model_file=str(path))
    except (RuntimeError, OSError, TypeError):
        return None


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files that are loaded: one, or those that the index names."""
    whole = folder / "model.safetensors"
    if whole.is_symlink() or whole.exists():
        return [whole]
    shards = (_json(folder / _INDEX) or {}).get("weight_map")
    names = shards.values() if isinstance(shards, dict) else ()
    return sorted({folder / str(name) for name in names})


def _absence(path: Path) -> Iterator[str]:
    """Yield why a file is not there, or not itself."""
    if path.is_symlink() and not path.exists():
        yield f"{path.name} is a symbolic link to {path.readlink()}, which is not there"
    elif path.is_dir():
        yield f"{path.name} is a folder, not a file"
    elif path.exists() and _starts_with(path, _LFS):
        yield (
            f"{path.name} is a Git LFS pointer, not the file itself: run `git lfs pull` in its "
            "folder"
        )


def _json_faults(path: Path) -> Iterator[str]:
    try:
        data = path.read_bytes()
    except OSError as error:
        yield f"{path.name} is missing, or cannot be read ({error.strerror})"
        return
    if data.startswith(codecs.BOM_UTF8):
        yield f"{path.name} begins with a byte order mark: save it as UTF-8 without one"
    try:
        value = json.loads(data.decode())
    except UnicodeDecodeError:
        yield f"{path.name} is not UTF-8: save it as that"
    except (ValueError, RecursionError) as error:
        kind = "a web page or XML" if data.lstrip().startswith(b"<") else "no JSON, or was cut off"
        yield f"{path.name} is {kind} ({error})"
    else:
        if not isinstance(value, dict):
            yield f"{path.name} is no JSON object"
        elif path.name == "tokenizer.json" and not isinstance(value.get("model"), dict):
            yield "tokenizer.json holds no tokenizer: it has no key model"


def _config_faults(source: Source, folder: Path) -> Iterator[str]:
    yield from _json_faults(folder / "config.json")
    config = _json(folder / "config.json") or {}
    kind = config.get("model_type")
    if kind is None:
        yield "config.json names no model_type"
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
    yield from _settings_faults(config)
    inner = config.get("text_config")
    yield from _settings_faults(inner if isinstance(inner, dict) else {})


def _settings_faults(settings: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the objects inside a configuration."""
    for name in ("text_config", "quantization_config", "rope_parameters", "rope_scaling"):
        if settings.get(name) is not None and not isinstance(settings[name], dict):
            yield f"{name} in config.json is {settings[name]!r:.60}, and has to be an object"
    rope = settings.get("rope_parameters") or settings.get("rope_scaling") or {}
    by_kind = rope.values() if isinstance(rope, dict) else ()  # of layers (Gemma 3)
    for part in (rope, *by_kind):
        kind = part.get("rope_type", part.get("type")) if isinstance(part, dict) else None
        if kind in _OLD_ROPE_TYPES:
            new = _OLD_ROPE_TYPES[kind]
            yield f"rope type {kind!r} is an old name of {new!r}: write that in config.json"
        elif kind is not None and kind not in {*ROPE_INIT_FUNCTIONS, "default", "mrope"}:
            known = ", ".join(sorted({*ROPE_INIT_FUNCTIONS, "default"}))
            yield (
                f"rope type {kind!r} is unknown to transformers {transformers.__version__} "
                f"(known: {known}): it needs a newer transformers"
            )


def _known_type(kind: Any) -> bool:
    return isinstance(kind, str) and kind in transformers.CONFIG_MAPPING


def _weight_faults(folder: Path, weights: list[Path]) -> Iterator[str]:
    index = folder / _INDEX
    if index.exists() and not (folder / "model.safetensors").exists():
        yield from _json_faults(index)
        if not weights:
            yield f"{_INDEX} names no shards: it has no weight_map"
        for path in weights:
            if not path.is_file():
                yield f"{_INDEX} names {path.relative_to(folder)}, which is not there"
    if not weights:
        pickles = [name for name in _PICKLES if (folder / name).is_file()]
        others = ", ".join(sorted(path.name for path in folder.glob("*.safetensors"))[:3])
        if others:
            detail = f" of the name model.safetensors, and no {_INDEX}, only {others}: rename it"
        elif pickles:
            detail = (
                f", only {', '.join(pickles)}, which is a pickle and may run any code: convert it "
                "with save_pretrained"
            )
        else:
            detail = " (model.safetensors, or shards and their index)"
        yield f"there are no safetensors weights{detail}"
    for path in weights:
        if fault := _safetensors_fault(path):
            yield fault


def _safetensors_fault(path: Path) -> str | None:
    """Compare a file with what its own header says: 8 bytes of length, JSON, then the data."""
    size = path.stat().st_size
    for beginning, what in _OTHER_FILES.items():
        if _starts_with(path, beginning):
            return f"{path.name} is {what}, not safetensors: download it again"
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


def tensor_types(path: Path) -> dict[str, str]:
    """Return the type of every tensor of a safetensors file, as its header writes it."""
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return {name: item["dtype"] for name, item in header.items() if name != "__metadata__"}


def _starts_with(path: Path, beginning: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(beginning)) == beginning


def _json(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
