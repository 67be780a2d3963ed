"""How many queries to run at once: a matter of memory and speed, never of results.

A chunk of C queries against a window of W keys computes C x (W + C) scores of which C x W count,
so a chunk much longer than the window wastes work, and a short one wastes launches. On a CPU, 256
queries keep the scores in the caches (docs/benchmarks.md).
"""

from workers.loading import LoadedModel
from workers.quality import CHUNK
from workers.visibility import Visibility

SMALLEST, LARGEST = 256, 4096
"""Range of a first choice on a GPU; out of memory halves it further (`scoring.Chunk`)."""
MEMORY_SHARE = 0.25
"""Share of the free memory that the logits and scores of one chunk may take."""


def first_chunk(
    loaded: LoadedModel, visibility: Visibility, longest: int, free_bytes: int | None
) -> int:
    """Return the chunk to begin with: a power of two times 256.

    longest: tokens of the longest document. free_bytes: of a GPU; None on a CPU.
    """
    if free_bytes is None:
        return CHUNK
    keys = longest if visibility.budget is None else visibility.budget
    chunk = SMALLEST
    while 2 * chunk <= min(LARGEST, max(keys, SMALLEST)):
        if chunk_bytes(loaded, 2 * chunk, keys) > MEMORY_SHARE * free_bytes:
            break
        chunk *= 2
    return chunk


def chunk_bytes(loaded: LoadedModel, chunk: int, keys: int) -> int:
    """Return the bytes of a chunk's logits and of one layer's scores, with their float32 copies."""
    element = loaded.dtype.itemsize
    logits = loaded.vocab_size * (element + 4 + 4)
    scores = loaded.heads * (keys + chunk) * (element + 4 + element)
    return chunk * (logits + scores)
