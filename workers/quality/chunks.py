"""How many queries to run at once: a matter of memory and speed, never of results.

A short chunk wastes launches. Where scores are stored, C queries against a window of W keys compute
C x (W + C) of which C x W count, so a chunk much longer than the window wastes work; a fused kernel
with a window of its own leaves them out. On a CPU, 256 queries are fastest (docs/log.md).

Short documents are run together: a forward over few tokens costs little more than one over fewer
(sixteen documents of 16 tokens took a third of the time in one pass on a CPU).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from workers.attention.chunked import CHUNK
from workers.attention.fused import kernel_for
from workers.attention.visibility import Visibility
from workers.contract.errors import DeviceMemoryError
from workers.models.loading import LoadedModel
from workers.quality.nll import SLICE

SMALLEST, LARGEST = 256, 8192
"""Range of a first choice on a GPU; out of memory halves it further (`Chunk`)."""
MEMORY_SHARE = 0.25
"""Share of the free memory that the logits and scores of one chunk may take."""
SMALLEST_CHUNK = 16
MOST_PADDING = 1.25
"""Padded tokens per real one in a batch, at most."""


def first_chunk(
    loaded: LoadedModel, visibility: Visibility, longest: int, free_bytes: int | None
) -> int:
    """Return the chunk to begin with: a power of two times 256.

    longest: tokens of the longest document. free_bytes: of a GPU; None on a CPU.
    """
    if free_bytes is None:
        return CHUNK
    keys = longest if visibility.budget is None else min(longest, visibility.budget)
    # Whether the parallel pass will find a fused kernel for this model.
    shapes = {(layer.head_dim, layer.heads // layer.kv_heads) for layer in loaded.layers}
    fused = all(layer.fusable for layer in loaded.layers) and all(
        kernel_for(loaded.device, loaded.dtype, head_dim, groups) is not None
        for head_dim, groups in shapes
    )
    most = LARGEST if fused else min(LARGEST, max(keys, SMALLEST))
    chunk = SMALLEST
    while 2 * chunk <= most:
        if chunk_bytes(loaded, 2 * chunk, keys, fused=fused) > MEMORY_SHARE * free_bytes:
            break
        chunk *= 2
    return chunk


def chunk_bytes(loaded: LoadedModel, chunk: int, keys: int, *, fused: bool) -> int:
    """Return the bytes of a chunk's logits, and of one layer's scores where they are stored.

    Scores have a float32 copy; of the logits a slice has one at a time, and its log-softmax.
    """
    element = loaded.dtype.itemsize
    logits = chunk * element + min(chunk, SLICE) * (4 + 4)
    scores = 0 if fused else chunk * (keys + chunk) * (element + 4 + element)
    return loaded.vocab_size * logits + loaded.heads * scores


@dataclass
class Chunk:
    """How many queries are run at once; shrinks when the device's memory does not hold them."""

    size: int

    def halve(self) -> None:
        """Halve the size, or raise `DeviceMemoryError` if it is the smallest already."""
        if self.size <= SMALLEST_CHUNK:
            raise DeviceMemoryError(
                f"out of memory with the smallest chunk of {self.size} queries: use a smaller "
                "window, dtype float16 or bfloat16, or a device with more memory"
            )
        self.size = max(SMALLEST_CHUNK, self.size // 2)


def batches(n_queries: Sequence[int], room: Callable[[], int]) -> Iterator[range]:
    """Yield consecutive ranges of documents that cover all of them, in order.

    n_queries: of each document; 0 for one that has to be run by itself.
    room: how many padded queries fit into one pass; asked anew for every batch.
    """
    start = 0
    while start < len(n_queries):
        stop, most = start + 1, room()
        while stop < len(n_queries):
            together = n_queries[start : stop + 1]
            padded = max(together) * len(together)
            if min(together) <= 0 or padded > min(most, MOST_PADDING * sum(together)):
                break
            stop += 1
        yield range(start, stop)
        start = stop
