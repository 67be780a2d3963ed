"""Which short documents are run together; pure arithmetic.

A forward over few tokens costs little more than one over fewer: sixteen documents of 16 tokens
took a third of the time in one pass on a CPU, documents of 128 tokens the same (docs/log.md).
"""

from collections.abc import Callable, Iterator, Sequence

MOST_PADDING = 1.25
"""Padded tokens per real one in a batch, at most."""


def batches(n_queries: Sequence[int], room: Callable[[], int]) -> Iterator[range]:
    """Yield consecutive ranges of documents that cover all of them, in order.

    n_queries: of each document; 0 for one that has to be run by itself.
    room: how many padded queries fit into one pass; asked anew for every batch.
    """
    start = 0
    while start < len(n_queries):
        stop, most = start + 1, room()
        while stop < len(n_queries) and _fit(n_queries[start : stop + 1], most):
            stop += 1
        yield range(start, stop)
        start = stop


def _fit(lengths: Sequence[int], room: int) -> bool:
    padded = max(lengths) * len(lengths)
    return min(lengths) > 0 and padded <= min(room, MOST_PADDING * sum(lengths))
