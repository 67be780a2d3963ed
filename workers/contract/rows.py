"""The rows of the store: their schemas, and nothing else.

One `TRIALS` row is one attempt of one evaluation, complete in itself. One `DOCUMENTS` row is a
finished part of an evaluation under way: a document, or a span of one. A value that was not
measured is null, never 0.
"""

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any
from uuid import uuid4

import pyarrow as pa

from workers.contract.events import Assignment
from workers.contract.failures import failure_columns
from workers.contract.spec import EVAL_VERSION, FIELD_NAMES, EvalSpec, columns

SCHEMA_VERSION = 1
"""Major version of the row format; a reader refuses a newer one, additions are nullable."""

_TEXT, _INT, _REAL, _FLAG = pa.string(), pa.int64(), pa.float64(), pa.bool_()
_UTC = pa.timestamp("us", tz="UTC")

_Columns = list[tuple[str, pa.DataType]]

_IDENTITY: _Columns = [
    ("row_id", _TEXT),
    ("run_id", _TEXT),
    ("attempt", _INT),
    ("sweep", _TEXT),
    ("source", _TEXT),  # measured | imported
    ("status", _TEXT),  # ok | failed
    ("schema_version", _INT),
    ("eval_version", _INT),
]
_SPEC: _Columns = [
    ("model", _TEXT),
    ("dataset", _TEXT),
    ("method", _TEXT),
    ("model_revision", _TEXT),
    ("dataset_revision", _TEXT),
    ("dtype", _TEXT),
    ("split", _TEXT),
    ("max_documents", _INT),
    ("max_tokens", _INT),
    ("n_sink", _INT),
    ("window_size", _INT),
    ("recompute_stride", _INT),
    ("measure", pa.list_(_TEXT)),
    ("decode_tokens", _INT),
    ("warmup_tokens", _INT),
    ("repeats", _INT),
    ("seed", _INT),
    ("trust_remote_code", _FLAG),
    ("save_token_nll", _FLAG),
]
_ERROR: _Columns = [
    ("error_kind", _TEXT),  # the driver's class of failure, what `sweep status` groups by
    ("error_type", _TEXT),
    ("error_message", _TEXT),
    ("traceback", _TEXT),
]
_SETTING: _Columns = [
    ("budget", _INT),
    ("compression_ratio", _REAL),
    ("kv_cache_bytes", _INT),
    ("trained_positions", _INT),
    ("beyond_training_length", _FLAG),
    ("evicted_tokens", _INT),
    ("n_documents", _INT),
    ("first_token", _TEXT),  # bos | text: what sink 0 is
    ("chunk_size", _INT),
    ("token_forwards", _INT),
]
_QUALITY: _Columns = [
    ("nll_sum", _REAL),  # nats
    ("n_tokens", _INT),
    ("perplexity", _REAL),
    ("perplexity_low", _REAL),
    ("perplexity_high", _REAL),
    ("perplexity_after_eviction", _REAL),
    ("bits_per_byte", _REAL),
    ("parity_max_abs_diff", _REAL),  # nats
]
_BLOCKS: _Columns = [
    ("block_size", _INT),
    ("block_document", pa.list_(pa.int32())),
    ("block_index", pa.list_(pa.int32())),
    ("block_tokens", pa.list_(pa.int32())),
    ("block_nll", pa.list_(_REAL)),
]
_LATENCY: _Columns = [
    ("latency_ms_mean", _REAL),
    ("latency_ms_p50", _REAL),
    ("latency_ms_p90", _REAL),
    ("latency_ms_p99", _REAL),
    ("runtime_ms", _REAL),
    ("runtime_ms_min", _REAL),
    ("runtime_ms_max", _REAL),
    ("prefill_ms", _REAL),
    ("first_token_ms", _REAL),
    ("tokens_per_second", _REAL),
    ("peak_memory_bytes", _INT),
    ("latency_full_budget", _FLAG),
    ("latency_recorded", _FLAG),  # steps were replayed: a CUDA graph, or a trace on a CPU
    ("latency_note", _TEXT),
]
_PROVENANCE: _Columns = [
    ("device_name", _TEXT),
    ("device_uuid", _TEXT),
    ("device_shared", _FLAG),
    ("hostname", _TEXT),
    ("node_id", _TEXT),
    ("pid", _INT),
    ("worker_sequence", _INT),
    ("num_threads", _INT),
    ("git_commit", _TEXT),
    ("git_dirty", _FLAG),
    ("torch_version", _TEXT),
    ("transformers_version", _TEXT),
    ("ray_version", _TEXT),
    ("python_version", _TEXT),
    ("cuda_version", _TEXT),
    ("log_path", _TEXT),
    ("started_at", _UTC),
    ("finished_at", _UTC),
]

TRIALS = pa.schema(
    _IDENTITY + _SPEC + _ERROR + _SETTING + _QUALITY + _BLOCKS + _LATENCY + _PROVENANCE
)
"""Schema of `STORE/trials`: one row per attempt."""

_PART: _Columns = [
    ("row_id", _TEXT),
    ("run_id", _TEXT),
    ("schema_version", _INT),
    ("document", _INT),  # position in the evaluated list
    ("start", _INT),  # first scored query of the part
    ("stop", _INT),  # one past the last scored query
    ("is_last", _FLAG),  # the part that ends its document
    ("document_tokens", _INT),  # T_d
    ("document_bytes", _INT),  # UTF-8 bytes of the whole document that are scored
    ("nll_sum", _REAL),  # nats
    ("after_eviction_nll", _REAL),
    ("after_eviction_tokens", _INT),
    ("block_index", pa.list_(pa.int32())),  # in blocks of BASE_BLOCK scored tokens
    ("block_tokens", pa.list_(pa.int32())),
    ("block_nll", pa.list_(_REAL)),
]

DOCUMENTS = pa.schema(_PART)
"""Schema of `STORE/documents`: everything about a finished part that can be added up."""

BLOCK_COLUMNS: tuple[str, ...] = tuple(name for name, _ in _BLOCKS)
"""The long list columns: readers that only count rows leave them out."""


def spec_columns(spec: EvalSpec) -> dict[str, Any]:
    """Return the identity and spec columns that every row of this evaluation shares."""
    return {"run_id": spec.run_id, "schema_version": SCHEMA_VERSION, **columns(spec)}


def complete(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row with every column of `TRIALS`, null where it has none.

    Raises `ValueError` for a column that the schema does not know.
    """
    if unknown := set(row) - set(TRIALS.names):
        raise ValueError(f"columns unknown to the trials schema: {sorted(unknown)}")
    return {name: row.get(name) for name in TRIALS.names}


assert tuple(name for name, _ in _SPEC) == FIELD_NAMES, "every EvalSpec field is a column"


def failed_row(assignment: Assignment, error: Exception, started: datetime) -> dict[str, Any]:
    """Return the row of an attempt that raised where an evaluator should not."""
    return complete(
        {
            **spec_columns(assignment.spec),
            "row_id": uuid4().hex,
            "attempt": assignment.attempt,
            "sweep": assignment.sweep,
            "source": "measured",
            "eval_version": EVAL_VERSION,
            "started_at": started,
            **failure_columns(error),
            **assignment.provenance,
        }
    )


def lost_row(
    spec: EvalSpec, sweep: str, attempt: int, kind: str, message: str, log_path: str | None = None
) -> dict[str, Any]:
    """Return the `failed` row of an attempt whose evaluator died; what is unknown is null."""
    return complete(
        {
            **spec_columns(spec),
            "row_id": uuid4().hex,
            "attempt": attempt,
            "sweep": sweep,
            "source": "measured",
            "status": "failed",
            "eval_version": EVAL_VERSION,
            "error_kind": kind,
            "error_type": kind,
            "error_message": message,
            "log_path": log_path,
            "finished_at": datetime.now(timezone.utc),
        }
    )
