"""Which queries of a text the quality pass scores: all, or those of a sample of whole blocks.

`recompute` runs a window for every token, which nobody can pay for on a long text. A strided
recompute is another baseline (its contexts are shorter). A sample of blocks is the same one, on
fewer tokens: every block is scored as the full baseline scores it, and a streaming row, which
has all blocks, is compared with it on the blocks of the sample alone.

Blocks are chosen systematically: every (M / N)-th of the M whole blocks of all documents, from a
seeded offset on, so that every block is as likely as any other and the sample is spread evenly
over the documents (Cochran, Sampling Techniques, chapter 8).
"""

import random
from collections.abc import Sequence

from workers.contract.spec import EvalSpec
from workers.contract.statistics import BASE_BLOCK, block_factor

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
