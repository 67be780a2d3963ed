"""From per-token losses to blocks, perplexities and intervals; numpy and float64 only.

Blocks depend on the data alone: query q of a document lies in block q // size, so every method
has the same blocks, and a paired difference between two methods can be resampled block by block.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BASE_BLOCK = 256
"""Scored tokens per block, before doubling."""
MAX_BLOCKS = 4096
"""Most blocks in a row; beyond it the block size doubles."""
RESAMPLES = 1000
CONFIDENCE = 0.95

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Blocks:
    """Sums over blocks of `size` scored tokens: all arrays have one entry per block."""

    size: int
    document: NDArray[np.int32]
    index: NDArray[np.int32]
    tokens: NDArray[np.int32]
    nll: FloatArray

    def columns(self) -> dict[str, Any]:
        """Return the block columns of a row."""
        return {
            "block_size": self.size,
            "block_document": self.document.tolist(),
            "block_index": self.index.tolist(),
            "block_tokens": self.tokens.tolist(),
            "block_nll": self.nll.tolist(),
        }


def block_sums(start: int, nll: NDArray[Any]) -> dict[str, list[Any]]:
    """Return base-block sums of the losses of the queries from `start` on.

    The first and last block may be partial; sums of the pieces of a block add up.
    """
    index = (np.arange(start, start + len(nll)) // BASE_BLOCK).astype(np.int64)
    first = int(index[0]) if len(index) else 0
    tokens = np.bincount(index - first)
    sums = np.bincount(index - first, weights=nll.astype(np.float64))
    return {
        "block_index": list(range(first, first + len(tokens))),
        "block_tokens": tokens.tolist(),
        "block_nll": sums.tolist(),
    }


def merge_blocks(spans: Iterable[Mapping[str, Any]]) -> Blocks:
    """Add up the base blocks of all spans (`rows.Span`), at most `MAX_BLOCKS`."""
    sums: dict[tuple[int, int], list[float]] = defaultdict(list)
    tokens: dict[tuple[int, int], int] = defaultdict(int)
    for span in spans:
        for index, count, nll in zip(
            span["block_index"], span["block_tokens"], span["block_nll"], strict=True
        ):
            sums[span["document"], index].append(nll)
            tokens[span["document"], index] += count
    return _coarsened(sums, tokens)


def perplexity(nll_sum: float, n_tokens: int) -> float | None:
    """Return exp(mean nll), infinite where no float is as large; None without tokens."""
    return exponential(nll_sum / n_tokens) if n_tokens else None


def exponential(nats: float) -> float:
    """Return e to the power of a mean loss; infinity beyond 709.78 nats, instead of an error."""
    try:
        return math.exp(nats)
    except OverflowError:
        return math.inf


def bits_per_byte(nll_sum: float, n_bytes: int | None) -> float | None:
    """Return the loss in bits per UTF-8 byte; None where the bytes are unknown."""
    return nll_sum / math.log(2) / n_bytes if n_bytes else None


def perplexity_interval(
    nll: Sequence[float] | FloatArray, tokens: Sequence[int] | NDArray[Any], seed: int
) -> tuple[float | None, float | None]:
    """Return the 95 % percentile interval of the perplexity, bootstrapped over blocks.

    Conditional on these documents: it says how much the figure moves with the choice of text
    passages, not between corpora. None with fewer than two blocks. Efron & Tibshirani (1993).
    """
    if len(nll) < 2:
        return None, None
    values, counts = np.asarray(nll, np.float64), np.asarray(tokens, np.float64)
    chosen = resampled(len(values), seed)
    means = values[chosen].sum(axis=1) / counts[chosen].sum(axis=1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return exponential(float(low)), exponential(float(high))


def resampled(n_blocks: int, seed: int) -> NDArray[np.int64]:
    """Return the block choices of every resample, [RESAMPLES, n_blocks]; the same for a seed."""
    return np.random.default_rng(seed).integers(0, n_blocks, size=(RESAMPLES, n_blocks))


def _coarsened(
    sums: Mapping[tuple[int, int], list[float]], tokens: Mapping[tuple[int, int], int]
) -> Blocks:
    """Double the block size until few enough blocks remain; sums by `math.fsum`."""
    factor = 1
    while len({(document, index // factor) for document, index in sums}) > MAX_BLOCKS:
        factor *= 2
        if all(index < factor for _, index in sums):
            break
    grouped: dict[tuple[int, int], list[float]] = defaultdict(list)
    counts: dict[tuple[int, int], int] = defaultdict(int)
    for (document, index), values in sums.items():
        grouped[document, index // factor].extend(values)
        counts[document, index // factor] += tokens[document, index]
    keys = sorted(grouped)
    return Blocks(
        size=BASE_BLOCK * factor,
        document=np.array([document for document, _ in keys], np.int32),
        index=np.array([index for _, index in keys], np.int32),
        tokens=np.array([counts[key] for key in keys], np.int32),
        nll=np.array([math.fsum(grouped[key]) for key in keys], np.float64),
    )
