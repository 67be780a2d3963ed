"""How much work evaluations are, in token-forwards: tokens run through the model.

It can be said before anything has run, it is the same on every device, and it is what separates
`recompute` (a whole window per scored token) from the methods that keep a cache.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from workers.contract.file_datasets import FILE_PREFIX, split_file_dataset
from workers.contract.sampling import scored_queries
from workers.contract.spec import EvalSpec
from workers.contract.statistics import BASE_BLOCK

ONE_STREAM = ("pydoc", "wikitext-103", "random")
"""Data sets that are one document (`random`: unless `max_documents` asks for more)."""
UNBOUNDED_TOKENS = 100_000
"""Length assumed for a document without `max_tokens`, for ordering alone."""
UNBOUNDED_DOCUMENTS = 10
ALONE = 10
"""A token decoded alone takes as long as so many in a pass (docs/benchmarks.md)."""


@dataclass(frozen=True)
class Text:
    """How long the documents of an evaluation are, as far as it is known before reading them."""

    n_documents: int
    n_tokens: int
    """Of all documents together."""
    is_exact: bool
    """False: an upper bound, from `max_documents` and `max_tokens`."""
    is_sampled: bool = False
    """Not exact, but from the tokens of some passages: off by a percent or two, either way."""


def text_from_limits(spec: EvalSpec) -> Text | None:
    """Return an upper bound for the text of a spec; None if its limits do not give one."""
    documents = spec.max_documents
    one_stream = spec.dataset in ONE_STREAM or (
        spec.dataset.startswith(FILE_PREFIX)
        and split_file_dataset(spec.dataset)[1] in ("txt", "md")
    )
    if one_stream and (documents is None or spec.dataset != "random"):
        documents = 1
    if documents is None or spec.max_tokens is None:
        return None
    return Text(documents, documents * spec.max_tokens, is_exact=spec.dataset == "random")


def token_forwards(spec: EvalSpec, text: Text) -> int:
    """Return the work of an evaluation of documents that are about equally long."""
    lengths = _equal_lengths(text)
    work = 0
    if "quality" in spec.measure:
        work += quality_forwards(spec, lengths)
    if "latency" in spec.measure:
        work += decode_forwards(spec) + _prefill(spec, max(lengths))
    return work


def weighted_phases(spec: EvalSpec, text: Text) -> tuple[float, float]:
    """Return the work of quality and latency in token-forwards of a pass: about its time."""
    lengths = _equal_lengths(text)
    quality = quality_forwards(spec, lengths) if "quality" in spec.measure else 0
    if "latency" not in spec.measure:
        return float(quality), 0.0
    weight = 1 if spec.method == "recompute" else ALONE
    return float(quality), float(weight * decode_forwards(spec) + _prefill(spec, max(lengths)))


def decode_forwards(spec: EvalSpec) -> int:
    """Return the work of the decode steps alone; `recompute` runs a window for each."""
    steps = spec.repeats * (spec.warmup_tokens + spec.decode_tokens)
    window = (spec.budget or 0) + 1 if spec.method == "recompute" else 1
    return steps * window


def _quality(spec: EvalSpec, queries: range) -> int:
    if spec.method != "recompute":
        return len(queries)
    window = (spec.budget or 0) + 1
    # One forward scores all queries whose whole past fits, the others take a window each.
    first = min(queries.stop, window) if queries.start < window else 0
    rest = queries.stop - max(queries.start, window)
    return first + -(-max(0, rest) // spec.recompute_stride) * window


def _prefill(spec: EvalSpec, length: int) -> int:
    if spec.method == "recompute":
        return 0
    return max(0, length - 1 - spec.warmup_tokens - spec.decode_tokens)


def _equal_lengths(text: Text) -> Sequence[int]:
    each, rest = divmod(text.n_tokens, text.n_documents)
    return [each + (i < rest) for i in range(text.n_documents)]


def quality_forwards(spec: EvalSpec, lengths: Sequence[int]) -> int:
    """Return the tokens run through the model by the quality pass, its cost on any device."""
    return sum(_quality(spec, run) for runs in scored_queries(spec, lengths) for run in runs)


def rough_cost(spec: EvalSpec) -> int:
    """Return about how many tokens go through the model; good enough to sort by."""
    documents = spec.max_documents or UNBOUNDED_DOCUMENTS
    tokens = documents * (spec.max_tokens or UNBOUNDED_TOKENS)
    if spec.method != "recompute":
        return tokens
    if spec.recompute_blocks is not None:
        tokens = min(tokens, spec.recompute_blocks * BASE_BLOCK)
    return tokens * max(1, spec.n_sink + spec.window_size) // spec.recompute_stride
