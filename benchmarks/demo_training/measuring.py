"""What the shipped files measure, on slices small enough for a test to measure again.

Every number comes from the exported folder through the evaluation engine, in float32 on the CPU.
"""

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import torch

from workers.attention.visibility import visibility_of
from workers.contract.events import DEFAULT_EVALUATOR, Assignment, Finished
from workers.contract.spec import EvalSpec
from workers.host.evaluator_host import EvaluatorHost
from workers.models.loading import load_model
from workers.models.sinks import sink_strength
from workers.quality.nll import stream_nll
from workers.texts.corpora import read_documents
from workers.texts.tokens import tokenised_documents

BUDGET = 128
N_SINK = 4
SLICES: Mapping[str, Mapping[str, int]] = {
    "pydoc": {"max_tokens": 4097},
    "stdlib": {"max_documents": 12, "max_tokens": 1025},
}
"""What the card evaluates: a text of 4,096 scored tokens, and 12 modules of up to 1,024."""

METHODS: Mapping[str, Mapping[str, Any]] = {
    "recompute": {"method": "recompute"},
    "streaming": {"method": "streaming"},
    "streaming, 1 sink": {"method": "streaming", "n_sink": 1, "window_size": BUDGET - 1},
    "window": {"method": "window", "n_sink": 0, "window_size": BUDGET},
    "dense": {"method": "dense"},
}
SAMPLED_BLOCKS = 3
"""Blocks of each text on which a test runs the exact baseline again."""
LATE_BLOCK = 3
"""Blocks hold 256 scored tokens: from this one on, a document is beyond 3 training lengths."""

Figures = dict[str, Any]


def measure(model: str, methods: Mapping[str, Mapping[str, Any]] = METHODS) -> Figures:
    """Evaluate a model (`demo` or a folder) on the card's slices, in float32 on the CPU."""
    host = EvaluatorHost(DEFAULT_EVALUATOR, {"device": "cpu"})
    figures: Figures = {}
    for dataset in SLICES:
        rows = {name: _row(host, model, dataset, fields) for name, fields in methods.items()}
        figures[dataset] = {name: _perplexities(row) for name, row in rows.items()}
    return figures


def measure_documents(model: str, step: int = 1) -> Figures:
    """Evaluate `streaming` on held-out documents, whole: scored tokens and summed loss of each.

    step: of the documents of a text, in order, the first and every `step`-th after it.
    """
    fields = {"method": "streaming", "max_documents": None, "max_tokens": None}
    specs = {dataset: _spec(model, dataset, fields) for dataset in SLICES}
    loaded = load_model(next(iter(specs.values())), torch.device("cpu"))
    figures: Figures = {}
    for dataset, spec in specs.items():
        sums: dict[str, list[float]] = {"tokens": [], "nll": []}
        for document in tokenised_documents(spec, loaded)[::step]:
            pieces = stream_nll(loaded.model, loaded.rotary, document.ids, visibility_of(spec))
            sums["nll"].append(round(sum(float(piece.nll.double().sum()) for piece in pieces), 2))
            sums["tokens"].append(len(document.ids) - 1)
        figures[dataset] = sums
    return figures


def perplexity_of(sums: Mapping[str, list[float]]) -> float:
    """Perplexity of all tokens of these documents together."""
    return math.exp(sum(sums["nll"]) / sum(sums["tokens"]))


def measure_sample(model: str) -> Figures:
    """Evaluate the exact baseline on a sample of its blocks."""
    host = EvaluatorHost(DEFAULT_EVALUATOR, {"device": "cpu"})
    fields = {**METHODS["recompute"], "recompute_blocks": SAMPLED_BLOCKS}
    return {dataset: _row(host, model, dataset, fields)["perplexity"] for dataset in SLICES}


def text_hashes() -> dict[str, str]:
    """The sha256 of each corpus as this Python carries it; another Python has other text."""
    hashes = {}
    for dataset in SLICES:
        digest = hashlib.sha256()
        for document in read_documents(EvalSpec(model="demo", dataset=dataset, method="dense")):
            digest.update(document.text.encode("utf-8"))
        hashes[dataset] = digest.hexdigest()
    return hashes


def all_figures(model: str) -> Figures:
    """Everything that the card states as measured."""
    documents = measure_documents(model)
    return {
        **measure(model),
        "whole": {dataset: perplexity_of(sums) for dataset, sums in documents.items()},
        "documents": documents,
        "recompute_sample": measure_sample(model),
        "sink": sinks(model),
        "text": text_hashes(),
    }


def sinks(model: str) -> Figures:
    """The attention to position 0 by layer and head, with BOS there and with text there."""
    spec = _spec(model, "stdlib", {"method": "dense"})
    loaded = load_model(spec, torch.device("cpu"))
    texts = [document.ids for document in tokenised_documents(spec, loaded)]
    bos, text = sink_strength(loaded, texts), sink_strength(loaded, [ids[1:] for ids in texts])
    return {
        "by_layer_and_head": [[round(x, 2) for x in layer] for layer in bos.attention.tolist()],
        "share_of_heads_above_0.3": round(bos.share_above, 3),
        "share_of_heads_above_0.3_without_bos": round(text.share_above, 3),
    }


def _spec(model: str, dataset: str, fields: Mapping[str, Any]) -> EvalSpec:
    budget = {"n_sink": N_SINK, "window_size": BUDGET - N_SINK}
    settings = {**budget, **SLICES[dataset], **fields}
    return EvalSpec(model=model, dataset=dataset, measure=("quality",), **settings)


def _row(
    host: EvaluatorHost, model: str, dataset: str, fields: Mapping[str, Any]
) -> Mapping[str, Any]:
    assignment = Assignment(spec=_spec(model, dataset, fields), sweep="card")
    (row,) = [event.row for event in host.events(assignment) if isinstance(event, Finished)]
    if row["status"] != "ok":
        raise RuntimeError(f"{dataset}, {fields}: {row['traceback']}")
    return row


def _perplexities(row: Mapping[str, Any]) -> dict[str, float | None]:
    """Perplexity of all queries, of those after the budget, and beyond 3 training lengths."""
    return {
        "all": _perplexity(row, 0, 2**62),
        "after_128": row["perplexity_after_eviction"],
        "late": _perplexity(row, LATE_BLOCK, 2**62),
    }


def _perplexity(row: Mapping[str, Any], first: int, last: int) -> float:
    columns = zip(row["block_index"], row["block_tokens"], row["block_nll"], strict=True)
    blocks = [(tokens, nll) for index, tokens, nll in columns if first <= index <= last]
    return math.exp(sum(nll for _, nll in blocks) / sum(tokens for tokens, _ in blocks))
