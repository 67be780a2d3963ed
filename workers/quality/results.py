"""From finished parts to the result columns of a row; every formula of the row in one place."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from workers.attention.visibility import compression_ratio, evicted_tokens
from workers.contract.spec import EvalSpec
from workers.contract.statistics import bits_per_byte, merge_blocks, perplexity, perplexity_interval
from workers.models.loading import LoadedModel
from workers.texts.tokens import TokenisedDocument, first_token_kind

Part = Mapping[str, Any]


def setting_columns(
    spec: EvalSpec, loaded: LoadedModel, documents: Sequence[TokenisedDocument]
) -> dict[str, Any]:
    """Return what follows from the spec, the model's shape and the documents' lengths alone."""
    lengths = [len(document.ids) for document in documents]
    needed = _positions_needed(spec, lengths)
    trained = loaded.trained_positions
    return {
        "budget": spec.budget,
        "kv_cache_bytes": loaded.kv_cache_bytes(_cached_tokens(spec, lengths)),
        "trained_positions": trained,
        "beyond_training_length": None if trained is None else needed > trained,
        "n_documents": len(documents),
        "first_token": first_token_kind(list(documents)),
        **_eviction_columns(spec, lengths),
    }


def quality_columns(spec: EvalSpec, parts: Sequence[Part]) -> dict[str, Any]:
    """Add up all parts of an evaluation, in the order of the documents."""
    ordered = sorted(parts, key=lambda part: (part["document"], part["start"]))
    nll_sum = math.fsum(part["nll_sum"] for part in ordered)
    n_tokens = sum(part["stop"] - part["start"] for part in ordered)
    after_nll = math.fsum(part["after_eviction_nll"] for part in ordered)
    after_tokens = sum(part["after_eviction_tokens"] for part in ordered)
    blocks = merge_blocks(ordered)
    low, high = perplexity_interval(blocks.nll, blocks.tokens, spec.seed)
    return {
        "nll_sum": nll_sum,
        "n_tokens": n_tokens,
        "perplexity": perplexity(nll_sum, n_tokens),
        "perplexity_low": low,
        "perplexity_high": high,
        "perplexity_after_eviction": perplexity(after_nll, after_tokens),
        "bits_per_byte": bits_per_byte(nll_sum, _scored_bytes(ordered)),
        **blocks.columns(),
    }


def _cached_tokens(spec: EvalSpec, lengths: Sequence[int]) -> int:
    if spec.method == "recompute":
        return 0
    return max(lengths) if spec.budget is None else spec.budget


def _positions_needed(spec: EvalSpec, lengths: Sequence[int]) -> int:
    return max(lengths) if spec.budget is None else spec.budget + 1


def _eviction_columns(spec: EvalSpec, lengths: Sequence[int]) -> dict[str, Any]:
    if spec.method == "dense":
        return {"evicted_tokens": 0, "compression_ratio": 0.0}
    if spec.method == "recompute" or spec.budget is None:
        return {"evicted_tokens": None, "compression_ratio": None}
    return {
        "evicted_tokens": evicted_tokens(lengths, spec.budget),
        "compression_ratio": compression_ratio(lengths, spec.budget),
    }


def _scored_bytes(parts: Sequence[Part]) -> int | None:
    sizes = {part["document"]: part["document_bytes"] for part in parts}
    return None if None in sizes.values() else sum(sizes.values())
