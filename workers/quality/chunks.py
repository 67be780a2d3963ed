"""How many queries to run at once: a matter of memory and speed, never of results.

A short chunk wastes launches. Where scores are stored, C queries against a window of W keys compute
C x (W + C) of which C x W count, so a chunk much longer than the window wastes work; a fused kernel
with a window of its own leaves them out. On a CPU, 256 queries are fastest (docs/log.md).
"""

from workers.attention.fused import kernel_for
from workers.attention.visibility import Visibility
from workers.models.loading import LoadedModel
from workers.quality.nll import CHUNK, SLICE

SMALLEST, LARGEST = 256, 8192
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
    keys = longest if visibility.budget is None else min(longest, visibility.budget)
    fused = _has_kernel(loaded)
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


def _has_kernel(loaded: LoadedModel) -> bool:
    """Tell whether the parallel pass will find a fused kernel for this model."""
    if getattr(loaded.model.config.get_text_config(), "attn_logit_softcapping", None) is not None:
        return False
    groups = loaded.heads // loaded.kv_heads
    return kernel_for(loaded.device, loaded.dtype, loaded.head_dim, groups) is not None
