"""The rows of the store: what their columns are, and the one place where a row is built.

One `Trial` is one attempt of one evaluation, complete in itself. One `Span` is a finished piece
of an evaluation under way: a document, or a span of one. The columns stand here once, with their
types; the Parquet schemas follow from them. A value that was not measured is null, never 0.
"""

import types
from collections.abc import Mapping
from datetime import datetime, timezone
from itertools import chain
from typing import Any, TypedDict, Union, cast, get_args, get_origin, get_type_hints
from uuid import uuid4

import pyarrow as pa

from workers.contract.spec import EVAL_VERSION, FIELD_TYPES, EvalSpec, columns

SCHEMA_VERSION = 1
"""Major version of the row format; a reader refuses a newer one, additions are nullable."""


class Identity(TypedDict, total=False):
    """Which attempt of which evaluation."""

    row_id: str
    run_id: str
    attempt: int
    sweep: str
    source: str  # measured | imported
    reported: str  # imported: the file that says so, as JSON
    status: str  # ok | failed
    schema_version: int
    eval_version: int


class Failed(TypedDict, total=False):
    """Why it failed (`failures.Failure`)."""

    error_kind: str | None
    error_type: str | None
    error_message: str | None
    traceback: str | None


class Setting(TypedDict, total=False):
    """What follows from spec, model and text alone."""

    budget: int | None
    compression_ratio: float | None
    kv_cache_bytes: int | None
    trained_positions: int | None
    beyond_training_length: bool | None
    evicted_tokens: int | None
    n_documents: int | None
    skipped_documents: int | None  # empty ones, left out on request
    first_token: str | None  # bos | text: what sink 0 is
    special_tokens_in_text: int | None  # ids of special tokens that the texts themselves spell
    unknown_token_share: float | None  # of the texts' tokens; null: the tokenizer knows all text
    weights_format: str | None  # safetensors | gguf with its quantisation | random
    chunk_size: int | None
    token_forwards: int | None


class Quality(TypedDict, total=False):
    """Losses, in nats."""

    nll_sum: float | None
    n_tokens: int | None
    perplexity: float | None
    perplexity_low: float | None
    perplexity_high: float | None
    interval_method: str | None  # of low and high (`statistics`); null: the block bootstrap
    perplexity_after_eviction: float | None
    bits_per_byte: float | None
    parity_max_abs_diff: float | None


class BlockLists(TypedDict, total=False):
    """Sums over blocks of scored tokens, one entry per block."""

    block_size: int | None
    block_document: list[int] | None
    block_index: list[int] | None
    block_tokens: list[int] | None
    block_nll: list[float] | None


class AttentionMap(TypedDict, total=False):
    """Where the attention goes, of `measure: [attention]` (`workers/models/sinks.py`)."""

    attention_texts: int | None
    attention_layers: int | None
    attention_heads: int | None
    attention_tokens: int | None  # of each text, at most
    attention_mean: list[float] | None  # [texts, layers, heads, 8 positions and the rest]


class Latency(TypedDict, total=False):
    """The timed decode."""

    latency_ms_mean: float | None
    latency_ms_p50: float | None
    latency_ms_p90: float | None
    latency_ms_p99: float | None
    runtime_ms: float | None
    runtime_ms_min: float | None
    runtime_ms_max: float | None
    prefill_ms: float | None
    first_token_ms: float | None
    tokens_per_second: float | None
    peak_memory_bytes: int | None
    latency_full_budget: bool | None
    latency_recorded: bool | None  # steps were replayed: a CUDA graph, or a trace on a CPU
    latency_note: str | None
    timing_noise: float | None  # share of the timed steps' time that others took, 0 to 1
    timing_disturbed: str | None  # why the time cannot be believed; null: nothing was found
    timing_repeats: int | None  # that were run, the disturbed ones that were repeated included


class Provenance(TypedDict, total=False):
    """Where the row comes from."""

    device_name: str | None
    device_uuid: str | None
    gpus_requested: int | None  # per evaluation, of the cluster
    device_shared: bool | None
    hostname: str | None
    node_id: str | None
    pid: int | None
    worker_sequence: int | None  # evaluations that this worker had run before
    num_threads: int | None
    git_commit: str | None
    git_dirty: bool | None
    torch_version: str | None
    transformers_version: str | None
    ray_version: str | None
    python_version: str | None
    cuda_version: str | None
    log_path: str | None
    started_at: datetime | None
    finished_at: datetime | None


class Results(Setting, Quality, BlockLists, AttentionMap, Latency, total=False):
    """What an evaluation found."""


class Trial(Identity, Failed, Results, Provenance, total=False):
    """One row of `STORE/trials`, but for the fields of the spec (`spec.from_columns`)."""


class Span(TypedDict, total=False):
    """One row of `STORE/documents`: everything about a finished span that can be added up."""

    row_id: str
    run_id: str
    schema_version: int
    document: int  # position in the evaluated list
    start: int  # first scored query of the span
    stop: int  # one past the last scored query
    is_last: bool  # the span that ends its document
    document_tokens: int  # T_d
    document_bytes: int | None  # UTF-8 bytes of the whole document that are scored
    nll_sum: float  # nats
    after_eviction_nll: float
    after_eviction_tokens: int
    block_index: list[int]  # in blocks of BASE_BLOCK scored tokens
    block_tokens: list[int]
    block_nll: list[float]


_ARROW: Mapping[Any, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    datetime: pa.timestamp("us", tz="UTC"),
    list[int]: pa.list_(pa.int32()),
    list[float]: pa.list_(pa.float64()),
}


def _schema(*groups: Mapping[str, Any]) -> pa.Schema:
    arrow_types = []
    for name, kind in chain.from_iterable(group.items() for group in groups):
        if get_origin(kind) in (Union, types.UnionType):  # `| None`: every column is nullable
            (kind,) = (one for one in get_args(kind) if one is not type(None))
        arrow_types.append((name, _ARROW[kind] if kind in _ARROW else pa.list_(pa.string())))
    return pa.schema(arrow_types)


TRIALS = _schema(
    get_type_hints(Identity),
    FIELD_TYPES,
    *(
        get_type_hints(group)
        for group in (Failed, Setting, Quality, BlockLists, AttentionMap, Latency, Provenance)
    ),
)
"""Schema of `STORE/trials`: one row per attempt."""
DOCUMENTS = _schema(get_type_hints(Span))
"""Schema of `STORE/documents`: one row per finished span."""
BLOCK_COLUMNS: tuple[str, ...] = tuple(get_type_hints(BlockLists))
LIST_COLUMNS: tuple[str, ...] = (*BLOCK_COLUMNS, "attention_mean")
"""The long list columns: readers that only count rows leave them out."""


def build_row(
    spec: EvalSpec, *, sweep: str, attempt: int, parts: tuple[Mapping[str, Any], ...]
) -> Trial:
    """Return the complete row of one attempt that has just ended.

    parts: columns that are known, the later ones first in line: provenance, results, failure.
    A row with an `error_kind` is `failed`, every other one `ok`. Raises `ValueError` for a column
    that the schema does not know.
    """
    row: dict[str, Any] = {
        "row_id": uuid4().hex,
        "attempt": attempt,
        "sweep": sweep,
        "source": "measured",
        "eval_version": EVAL_VERSION,
        "finished_at": datetime.now(timezone.utc),
        **spec_columns(spec),
    }
    for columns_of in parts:
        row |= columns_of
    row["status"] = "ok" if row.get("error_kind") is None else "failed"
    return complete(row)


def spec_columns(spec: EvalSpec) -> dict[str, Any]:
    """Return the identity and spec columns that every row of this evaluation shares."""
    return {"run_id": spec.run_id, "schema_version": SCHEMA_VERSION, **columns(spec)}


def complete(row: Mapping[str, Any]) -> Trial:
    """Return the row with every column of `TRIALS`, null where it has none.

    Raises `ValueError` for a column that the schema does not know.
    """
    if unknown := set(row) - set(TRIALS.names):
        raise ValueError(f"columns unknown to the trials schema: {sorted(unknown)}")
    return cast("Trial", {name: row.get(name) for name in TRIALS.names})
