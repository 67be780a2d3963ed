"""Which tokens an evaluation scores, and its work in token-forwards: tokens through the model.

The work can be said before anything has run, it is the same on every device, and it is what
separates `recompute` (a whole window per scored token) from the methods that keep a cache.

Nobody can pay for `recompute` on a long text. A strided one is another baseline (its contexts are
shorter). A sample of blocks is the same one, on fewer tokens: every block is scored as the full
baseline scores it, and a streaming row, which has all blocks, is compared with it on the blocks of
the sample alone. Blocks are chosen systematically: every (M / N)-th of the M whole blocks of all
documents, from a seeded offset on, so that every block is as likely as any other and the sample is
spread evenly over the documents (Cochran, Sampling Techniques, chapter 8).
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from workers.contract.file_datasets import FILE_PREFIX, split_file_dataset
from workers.contract.spec import EvalSpec
from workers.contract.statistics import BASE_BLOCK, block_factor

ONE_STREAM = ("pydoc", "wikitext-103", "random")
"""Data sets that are one document (`random`: unless `max_documents` asks for more)."""
UNBOUNDED_TOKENS = 100_000
"""Length assumed for a document without `max_tokens`, for ordering alone."""
UNBOUNDED_DOCUMENTS = 10
ALONE = 10
"""A token decoded alone takes as long as so many in a pass (docs/benchmarks.md)."""
PROBED_PREFILL = 4096
"""Tokens before its steps that a probe of the decode reads at most, besides a cache full."""


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
    work = quality_work(spec, text)
    if "latency" in spec.measure:
        work += decode_forwards(spec) + _prefill(spec, max(_equal_lengths(text)))
    return work


def quality_work(spec: EvalSpec, text: Text) -> int:
    """Return the token-forwards of the quality pass alone; 0 if it is not wanted."""
    return quality_forwards(spec, _equal_lengths(text)) if "quality" in spec.measure else 0


def weighted_phases(spec: EvalSpec, text: Text) -> tuple[float, float]:
    """Return the work of quality and latency in token-forwards of a pass: about its time."""
    quality = quality_work(spec, text)
    if "latency" not in spec.measure:
        return float(quality), 0.0
    weight = 1 if spec.method == "recompute" else ALONE
    prefill = _prefill(spec, max(_equal_lengths(text)))
    return float(quality), float(weight * decode_forwards(spec) + prefill)


def decode_forwards(spec: EvalSpec) -> int:
    """Return the work of the decode steps alone; `recompute` runs a window for each."""
    steps = spec.repeats * (spec.warmup_tokens + spec.decode_tokens)
    window = (spec.budget or 0) + 1 if spec.method == "recompute" else 1
    return steps * window


def prefill_limit(spec: EvalSpec) -> int:
    """Return how many tokens a probe of the decode reads at most (`workers.speed_probe`)."""
    return (spec.budget or 0) + spec.warmup_tokens + spec.decode_tokens + PROBED_PREFILL


def prefill_share(spec: EvalSpec, text: Text) -> float:
    """Return how many times as long the prefill of a text is as that of a probe of it."""
    longest = max(_equal_lengths(text))
    return max(1.0, _prefill(spec, longest) / max(1, _prefill(spec, prefill_limit(spec))))


def _prefill(spec: EvalSpec, length: int) -> int:
    if spec.method == "recompute":
        return 0
    return max(0, length - 1 - spec.warmup_tokens - spec.decode_tokens)


def _equal_lengths(text: Text) -> Sequence[int]:
    each, rest = divmod(text.n_tokens, text.n_documents)
    return [each + (i < rest) for i in range(text.n_documents)]


def quality_forwards(spec: EvalSpec, lengths: Sequence[int]) -> int:
    """Return the tokens run through the model by the quality pass, its cost on any device."""
    queries = [run for runs in scored_queries(spec, lengths) for run in runs]
    if spec.method != "recompute":
        return sum(len(run) for run in queries)
    forwards, window = 0, (spec.budget or 0) + 1
    for run in queries:
        # One forward scores all queries whose whole past fits, the others take a window each.
        first = min(run.stop, window) if run.start < window else 0
        rest = run.stop - max(run.start, window)
        forwards += first + -(-max(0, rest) // spec.recompute_stride) * window
    return forwards


def rough_cost(spec: EvalSpec) -> int:
    """Return about how many tokens go through the model; good enough to sort by."""
    documents = spec.max_documents or UNBOUNDED_DOCUMENTS
    tokens = documents * (spec.max_tokens or UNBOUNDED_TOKENS)
    if spec.method != "recompute":
        return tokens
    if spec.recompute_blocks is not None:
        tokens = min(tokens, spec.recompute_blocks * BASE_BLOCK)
    return tokens * max(1, spec.n_sink + spec.window_size) // spec.recompute_stride


Queries = tuple[range, ...]
"""Runs of queries of one document, in order; none if nothing of it is scored."""


def scored_queries(spec: EvalSpec, lengths: Sequence[int]) -> list[Queries]:
    """Return the queries that are scored of each document, given its tokens."""
    queries = [max(0, length - 1) for length in lengths]
    if spec.recompute_blocks is None:
        return [(range(count),) if count else () for count in queries]
    size = BASE_BLOCK * block_factor(queries)
    whole = [
        range(start, start + size)
        for count in queries
        for start in range(0, count - size + 1, size)
    ]
    document = [index for index, count in enumerate(queries) for _ in range(count // size)]
    chosen: list[list[range]] = [[] for _ in lengths]
    for place in sampled(len(whole), spec.recompute_blocks, spec.seed):
        runs, block = chosen[document[place]], whole[place]
        if runs and runs[-1].stop == block.start:
            block = range(runs.pop().start, block.stop)
        runs.append(block)
    return [tuple(runs) for runs in chosen]


def sampled(population: int, size: int, seed: int) -> list[int]:
    """Return `size` of the numbers below `population`, evenly spaced from a seeded offset on."""
    if size >= population:
        return list(range(population))
    offset = random.Random(seed).random()
    return [int((number + offset) * population / size) for number in range(size)]


def next_query(queries: Queries, position: int) -> int | None:
    """Return the first scored query from a position on; None at the end of the document."""
    return next((max(run.start, position) for run in queries if run.stop > position), None)
