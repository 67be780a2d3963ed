"""Rows for the tests of the analysis, computed from a formula that a test can repeat.

They go through `workers.contract.rows.complete`, so a column that the schema does not know is an
error. Only tests use them.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pyarrow as pa

from workers.contract import rows as record
from workers.contract.spec import EvalSpec
from workers.contract.statistics import perplexity_interval

BLOCK = 256
TRAINED = 512
LENGTHS = {"pydoc": (20_000,), "stdlib": (6_000, 3_000, 1_500), "wikitext-103": (3_407,)}
BASE_NLL = {"pydoc": 2.6, "stdlib": 2.1, "wikitext-103": 3.4}
DEVICE = {"device_name": "Test CPU", "num_threads": 1, "torch_version": "2.13.0"}
START = datetime(2026, 11, 23, tzinfo=timezone.utc)


def token_nll(spec: EvalSpec, position: np.ndarray) -> np.ndarray:
    """Nats at each query: less with more context, worse without sinks or beyond training."""
    budget = spec.budget
    visible = position + 1 if budget is None else np.minimum(position, budget) + 1
    nll = BASE_NLL.get(spec.dataset, 3.0) + 4 / np.sqrt(visible + 4)
    if budget is None:
        return nll + 0.5 * np.log2(np.maximum(position / TRAINED, 1))
    if spec.method == "streaming":
        nll = nll + np.where(position > budget, 0.8 * 0.02**spec.n_sink + 0.005, 0.0)
    return nll


def blocks(spec: EvalSpec) -> dict[str, Any]:
    """The block columns; every method sees the same hard and easy blocks."""
    document, index, tokens, nll = [], [], [], []
    shared = np.random.default_rng(7)
    own = np.random.default_rng(int(spec.run_id[:8], 16))
    for number, length in enumerate(LENGTHS.get(spec.dataset, (4_000,))):
        scored = min(length, spec.max_tokens or length) - 1
        values = token_nll(spec, np.arange(scored))
        for start in range(0, scored, BLOCK):
            part = values[start : start + BLOCK]
            noise = shared.normal(0, 0.3) + own.normal(0, 0.003)
            document.append(number)
            index.append(start // BLOCK)
            tokens.append(len(part))
            nll.append(float(part.sum() + noise * len(part)))
    return {
        "block_size": BLOCK,
        "block_document": document,
        "block_index": index,
        "block_tokens": tokens,
        "block_nll": nll,
    }


def quality(spec: EvalSpec) -> dict[str, Any]:
    cut = blocks(spec)
    tokens, total = sum(cut["block_tokens"]), math.fsum(cut["block_nll"])
    perplexity = math.exp(total / tokens)
    arrays = (np.array(cut[f"block_{name}"]) for name in ("document", "nll", "tokens"))
    low, high, kind = perplexity_interval(*arrays)
    return cut | {
        "nll_sum": total,
        "n_tokens": tokens,
        "perplexity": perplexity,
        "perplexity_low": low,
        "perplexity_high": high,
        "interval_method": kind,
        "bits_per_byte": total / tokens / math.log(2) / 3.5,
        "parity_max_abs_diff": 2e-6,
        "n_documents": len(LENGTHS.get(spec.dataset, (4_000,))),
        "first_token": "bos",
    }


def attention(dataset: str, shape: tuple[int, int, int] = (2, 3, 4)) -> dict[str, Any]:
    """The columns of `measure: [attention]`: half of the attention on the first position."""
    seed = len(dataset)
    rest = np.random.default_rng(seed).dirichlet(np.ones(9), size=shape)
    rest[..., 0] += 1
    names = ("attention_texts", "attention_layers", "attention_heads")
    sizes = dict(zip(names, shape, strict=True))
    return {**sizes, "attention_tokens": 256, "attention_mean": (rest / 2).ravel().tolist()}


def step_ms(spec: EvalSpec) -> float:
    """Milliseconds per decoded token: recompute pays for every token of its window."""
    budget = spec.budget or max(LENGTHS.get(spec.dataset, (4_000,)))
    return 1.0 + budget * (0.02 if spec.method == "recompute" else 0.001)


def latency(spec: EvalSpec, *, slower: float = 1.0) -> dict[str, Any]:
    step = step_ms(spec) * slower
    runtime = step * spec.decode_tokens
    return {
        "latency_ms_mean": step,
        "latency_ms_p50": step * 0.99,
        "latency_ms_p90": step * 1.1,
        "latency_ms_p99": step * 1.4,
        "runtime_ms": runtime,
        "runtime_ms_min": runtime * 0.98,
        "runtime_ms_max": runtime * 1.05,
        "prefill_ms": 3 * step,
        "first_token_ms": 4 * step,
        "tokens_per_second": 1000 / step,
        "latency_full_budget": True,
    }


def setting(spec: EvalSpec) -> dict[str, Any]:
    lengths = LENGTHS.get(spec.dataset, (4_000,))
    lengths = tuple(min(length, spec.max_tokens or length) for length in lengths)
    budget, longest = spec.budget, max(lengths)
    values: dict[str, Any] = {
        "budget": budget,
        "trained_positions": TRAINED,
        "beyond_training_length": (longest if budget is None else budget + 1) > TRAINED,
        "compression_ratio": {"dense": 0.0}.get(spec.method),
        "evicted_tokens": {"dense": 0}.get(spec.method),
        "kv_cache_bytes": 0 if spec.method == "recompute" else 4096 * (budget or longest),
    }
    if spec.method == "streaming":
        assert budget is not None
        kept = sum(min(length, budget) for length in lengths)
        values["compression_ratio"] = 1 - kept / sum(lengths)
        values["evicted_tokens"] = sum(max(0, length - 1 - budget) for length in lengths)
    return values


def row(
    *,
    changes: Mapping[str, Any] | None = None,
    slower: float = 1.0,
    sequence: int = 1,
    **fields: Any,
) -> dict[str, Any]:
    """One complete `ok` row of `EvalSpec(**fields)`; `changes` overrides columns of the result."""
    given = {"model": "demo", "dataset": "pydoc", "model_revision": "m1", "dataset_revision": "d1"}
    spec = EvalSpec(**(given | fields))
    values: dict[str, Any] = {
        "attempt": 1,
        "sweep": "test",
        "source": "measured",
        "status": "ok",
        "eval_version": 1,
        **record.spec_columns(spec),
        **setting(spec),
        **(quality(spec) if "quality" in spec.measure else {}),
        **(latency(spec, slower=slower) if "latency" in spec.measure else {}),
        **DEVICE,
        "device_shared": False,
        "hostname": "testhost",
        "worker_sequence": sequence,
        "git_commit": "0" * 40,
        "git_dirty": False,
        "transformers_version": "5.23.0",
        "python_version": "3.11.9",
        "started_at": START,
        "finished_at": START + timedelta(seconds=10),
        **(changes or {}),
    }
    values.setdefault("row_id", _row_id(values))
    return record.complete(values)


def _row_id(values: Mapping[str, Any]) -> str:
    place = (values["device_name"], values["num_threads"], values["torch_version"])
    return hashlib.sha256(repr((values["run_id"], place)).encode()).hexdigest()[:16]


def quickstart(datasets: Iterable[str] = ("pydoc", "stdlib")) -> list[dict[str, Any]]:
    """The rows of a small sweep like the shipped one: windows, sinks, recompute and dense."""
    rows = []
    for dataset in datasets:
        rows.append(row(dataset=dataset, method="dense", changes=attention(dataset)))
        rows += [
            row(dataset=dataset, method=method, window_size=window)
            for window in (16, 32, 64, 128, 256, 512)
            for method in ("streaming", "recompute")
        ]
        rows += [
            row(dataset=dataset, method="streaming", window_size=128, n_sink=sinks)
            for sinks in (0, 1, 2, 8, 16)
        ]
    return rows


def table(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """The rows as a table of the store's schema."""
    return pa.Table.from_pylist([dict(item) for item in rows], schema=record.TRIALS)
