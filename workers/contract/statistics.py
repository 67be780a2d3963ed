"""From per-token losses to blocks, perplexities and intervals; numpy and float64 only.

Blocks depend on the data alone: query q of a document lies in block q // size, so every method
has the same blocks, and two methods can be compared block by block.
"""

import functools
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BASE_BLOCK = 256
"""Scored tokens per block, before doubling."""
MAX_BLOCKS = 4096
"""Most blocks in a row; beyond it the block size doubles."""
CONFIDENCE = 0.95
MIN_DOCUMENTS = 4
"""From so many documents on an interval speaks of documents like these."""
BATCHES = 4
"""Stretches of a document whose spread stands for other passages of it."""
NEIGHBOURS = 0.3
"""Correlation of two neighbouring batches. Measured on the shipped model's losses on `stdlib`:
the variance of a mean over twice as long a stretch is 1.2 to 1.4 times that of independent
halves, from 256 to 4,096 tokens alike (`docs/method.md`)."""
OVER_DOCUMENTS, OVER_PASSAGES, TOO_LITTLE = "documents-t", "passages-t", "none"
INTERVAL_METHODS = (OVER_DOCUMENTS, OVER_PASSAGES, TOO_LITTLE)
"""Values of the column `interval_method`; rows of the block bootstrap before have none."""

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


def block_sums(queries: NDArray[np.int64], nll: NDArray[Any]) -> dict[str, list[Any]]:
    """Return base-block sums of the losses of these queries: two arrays [n], ascending.

    Blocks may be partial; sums of the pieces of a block add up.
    """
    index, block = np.unique(queries // BASE_BLOCK, return_inverse=True)
    tokens = np.bincount(block)
    sums = np.bincount(block, weights=nll.astype(np.float64))
    return {
        "block_index": index.tolist(),
        "block_tokens": tokens.tolist(),
        "block_nll": sums.tolist(),
    }


def merge_blocks(spans: Iterable[Mapping[str, Any]], factor: int | None = None) -> Blocks:
    """Add up the base blocks of all spans (`rows.Span`), at most `MAX_BLOCKS`.

    `factor`: base blocks in a block (`block_factor`), needed where the spans do not reach the
    ends of their documents.
    """
    sums: dict[tuple[int, int], list[float]] = defaultdict(list)
    tokens: dict[tuple[int, int], int] = defaultdict(int)
    for span in spans:
        for index, count, nll in zip(
            span["block_index"], span["block_tokens"], span["block_nll"], strict=True
        ):
            sums[span["document"], index].append(nll)
            tokens[span["document"], index] += count
    if factor is None:
        last: dict[int, int] = {}
        for document, index in sums:
            last[document] = max(last.get(document, 0), index)
        factor = block_factor([(index + 1) * BASE_BLOCK for index in last.values()])
    return _coarsened(sums, tokens, factor)


def block_factor(queries: Collection[int]) -> int:
    """Return how many base blocks make a block of a text, from its documents' scored tokens.

    Doubled until few enough blocks remain; documents share no block.
    """
    counts, factor = [-(-count // BASE_BLOCK) for count in queries], 1
    while sum(-(-count // factor) for count in counts) > MAX_BLOCKS:
        factor *= 2
        if max(counts) <= factor:
            break
    return factor


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


@dataclass(frozen=True)
class MeanInterval:
    """A mean per token with its 95 % interval, and the population that the interval speaks of."""

    value: float
    margin: float | None
    """Half the width; None where the text is too little for an interval."""
    method: str
    """One of `INTERVAL_METHODS`: whose mean is meant to lie inside."""

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Return (low, high), or None without an interval."""
        return None if self.margin is None else (self.value - self.margin, self.value + self.margin)


def mean_interval(
    document: NDArray[Any], values: NDArray[Any], tokens: NDArray[Any]
) -> MeanInterval:
    """Return the mean of `values` per token over blocks, with a Student t interval.

    All three have one entry per block, in the order of the text: number of the document, sum
    over the block (nats, or a difference of nats), scored tokens. Blocks of one text are not
    independent, so they are never the unit. From `MIN_DOCUMENTS` documents on the unit is the
    document ("documents like these"); with fewer it is one of `BATCHES` long stretches of each
    document ("other passages of these documents"). Errors are jackknife errors of a ratio of
    sums, so documents count by their tokens (Efron & Stein 1981; Law & Kelton on batch means).
    How often these intervals cover: `docs/method.md`.
    """
    values, tokens = np.asarray(values, np.float64), np.asarray(tokens, np.float64)
    starts = np.flatnonzero(np.diff(document, prepend=document[:1] - 1))
    value = float(values.sum() / tokens.sum())
    if len(starts) >= MIN_DOCUMENTS:
        sums, counts = np.add.reduceat(values, starts), np.add.reduceat(tokens, starts)
        variance, freedom = _jackknife_variance(sums, counts), len(starts) - 1
        return MeanInterval(value, t_quantile(freedom) * math.sqrt(variance), OVER_DOCUMENTS)
    stretches = list(zip(np.split(values, starts[1:]), np.split(tokens, starts[1:]), strict=True))
    for _, counts in stretches:  # a document fills its batches; the last block may be a half one
        if len(counts) < BATCHES or counts.sum() < (BATCHES - 0.5) * counts[0]:
            return MeanInterval(value, None, TOO_LITTLE)
    shares = np.array([counts.sum() for _, counts in stretches]) / tokens.sum()
    variances = shares**2 * [_batch_variance(sums, counts) for sums, counts in stretches]
    # Welch-Satterthwaite: one document that is most of the text leaves its own freedom alone.
    total, freedom = variances.sum(), BATCHES - 1
    if total > 0:
        freedom = int(total**2 / (variances**2 / (BATCHES - 1)).sum() + 1e-9)
    return MeanInterval(value, t_quantile(freedom) * math.sqrt(total), OVER_PASSAGES)


def perplexity_interval(
    document: NDArray[Any], nll: NDArray[Any], tokens: NDArray[Any]
) -> tuple[float | None, float | None, str]:
    """Return the 95 % interval of the perplexity and its method; see `mean_interval`."""
    found = mean_interval(document, nll, tokens)
    if found.bounds is None:
        return None, None, found.method
    low, high = found.bounds
    return exponential(low), exponential(high), found.method


@functools.cache
def t_quantile(freedom: int) -> float:
    """Return the 97.5 % quantile of Student's t distribution with whole degrees of freedom.

    From the finite sums of Abramowitz & Stegun 26.7.3 and 26.7.4, by bisection: scipy, which
    has it, is neither on every GPU machine nor worth its import for one number.
    """
    low, high = 0.0, 64.0
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if _t_within(middle, freedom) < CONFIDENCE else (low, middle)
    return high


def _t_within(t: float, freedom: int) -> float:
    """Return the probability that |T| < t."""
    angle = math.atan2(t, math.sqrt(freedom))
    cosine = math.cos(angle)
    first = 2 + freedom % 2
    term, total = 1.0, 1.0
    for k in range(first, freedom - 1, 2):
        term *= (k - 1) / k * cosine**2
        total += term
    if freedom % 2 == 0:
        return math.sin(angle) * total
    return 2 / math.pi * (angle + (freedom > 1) * math.sin(angle) * cosine * total)


def _jackknife_variance(sums: FloatArray, counts: FloatArray) -> float:
    """Return the variance of sums.sum() / counts.sum(), leaving out one cluster at a time."""
    without = (sums.sum() - sums) / (counts.sum() - counts)
    spread = without - sums.sum() / counts.sum()
    return float((len(sums) - 1) / len(sums) * (spread**2).sum())


def _batch_variance(sums: FloatArray, counts: FloatArray) -> float:
    """Return the variance of a document's mean from few long batches of its blocks.

    What neighbouring batches share does not show in their spread, so it is added.
    """
    starts = np.round(np.linspace(0, len(sums), BATCHES + 1)).astype(int)[:-1]
    spread = _jackknife_variance(np.add.reduceat(sums, starts), np.add.reduceat(counts, starts))
    pairs = [(i, j) for i in range(BATCHES) for j in range(BATCHES) if i != j]
    shared = math.fsum(NEIGHBOURS ** abs(i - j) for i, j in pairs) / len(pairs)
    return spread * (1 + (BATCHES - 1) * shared) / (1 - shared)


def _coarsened(
    sums: Mapping[tuple[int, int], list[float]],
    tokens: Mapping[tuple[int, int], int],
    factor: int,
) -> Blocks:
    """Put `factor` base blocks together; sums by `math.fsum`."""
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
