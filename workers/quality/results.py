"""From finished spans to the result columns of a row; every formula of the row in one place."""

import math
from collections.abc import Sequence
from typing import Any

from workers.attention.visibility import compression_ratio, evicted_tokens
from workers.contract.rows import Span
from workers.contract.spec import EvalSpec
from workers.contract.statistics import (
    bits_per_byte,
    block_factor,
    merge_blocks,
    perplexity,
    perplexity_interval,
)
from workers.models.loading import LoadedModel
from workers.texts.tokens import TokenisedDocument, first_token_kind, unknown_share


def setting_columns(
    spec: EvalSpec, loaded: LoadedModel, documents: Sequence[TokenisedDocument]
) -> dict[str, Any]:
    """Return what follows from the spec, the model's shape and the documents' lengths alone."""
    lengths = [len(document.ids) for document in documents]
    cached, needed = max(lengths), max(lengths)
    if spec.budget is not None:
        cached, needed = spec.budget, spec.budget + 1
    trained = loaded.trained_positions
    evicted, compression = (0, 0.0) if spec.method == "dense" else (None, None)
    if spec.method != "recompute" and spec.budget is not None:
        evicted = evicted_tokens(lengths, spec.budget)
        compression = compression_ratio(lengths, spec.budget)
    return {
        "budget": spec.budget,
        "kv_cache_bytes": loaded.kv_cache_bytes(0 if spec.method == "recompute" else cached),
        "trained_positions": trained,
        "beyond_training_length": None if trained is None else needed > trained,
        "n_documents": len(documents),
        "weights_format": loaded.weights_format,
        "skipped_documents": sum(document.skipped for document in documents),
        "first_token": first_token_kind(list(documents)),
        "special_tokens_in_text": sum(document.n_special for document in documents),
        "unknown_token_share": unknown_share(documents),
        "evicted_tokens": evicted,
        "compression_ratio": compression,
    }


def quality_columns(
    spec: EvalSpec, spans: Sequence[Span], lengths: Sequence[int]
) -> dict[str, Any]:
    """Add up all spans of an evaluation of documents of these lengths, in their order."""
    ordered = sorted(spans, key=lambda span: (span["document"], span["start"]))
    nll_sum = math.fsum(span["nll_sum"] for span in ordered)
    n_tokens = sum(sum(span["block_tokens"]) for span in ordered)
    after_nll = math.fsum(span["after_eviction_nll"] for span in ordered)
    after_tokens = sum(span["after_eviction_tokens"] for span in ordered)
    blocks = merge_blocks(ordered, block_factor([max(0, length - 1) for length in lengths]))
    low, high, method = perplexity_interval(blocks.document, blocks.nll, blocks.tokens)
    n_bytes = None
    if spec.recompute_blocks is None:  # they are of whole documents, not of what was scored
        sizes = {span["document"]: span["document_bytes"] for span in ordered}
        known = [size for size in sizes.values() if size is not None]
        n_bytes = sum(known) if len(known) == len(sizes) else None
    return {
        "nll_sum": nll_sum,
        "n_tokens": n_tokens,
        "perplexity": perplexity(nll_sum, n_tokens),
        "perplexity_low": low,
        "perplexity_high": high,
        "interval_method": method,
        "perplexity_after_eviction": perplexity(after_nll, after_tokens),
        "bits_per_byte": bits_per_byte(nll_sum, n_bytes),
        **blocks.columns(),
    }
