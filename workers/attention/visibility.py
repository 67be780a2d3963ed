"""Which keys a query sees under each method, and what follows from it; pure arithmetic.

Eviction happens after the forward, as in mit-han-lab/streaming-llm: the query at position t is
attended together with the B = S + W cached tokens, so it sees up to B + 1 keys, itself included,
and the first query that misses a token is t = B + 1 (Xiao et al., arXiv 2309.17453, section 3).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workers.contract.errors import UnsupportedModelError
from workers.contract.spec import EvalSpec


@dataclass(frozen=True)
class Visibility:
    """The keys of a streaming query: `n_sink` first tokens and the `window_size` before it.

    A window of None never evicts: dense attention.
    """

    n_sink: int
    window_size: int | None

    @property
    def budget(self) -> int | None:
        """Cached tokens B = S + W; None for dense attention."""
        return None if self.window_size is None else self.n_sink + self.window_size

    def sees(self, query: int, key: int) -> bool:
        """Tell whether the query at one position sees the key at another.

        For query <= B the window reaches back to the sinks or beyond, so all keys are seen.
        """
        if key > query:
            return False
        return self.window_size is None or key < self.n_sink or key >= query - self.window_size

    def oldest_recent(self, query: int) -> int:
        """Return the first position outside the sinks that the query sees (it may be itself)."""
        if self.window_size is None:
            return min(self.n_sink, query)
        return max(min(self.n_sink, query), query - self.window_size)

    def sink_distance_position(self, query: int) -> int:
        """Return the position from which the query's distance to the sinks is counted."""
        return query if self.budget is None else min(query, self.budget)

    def first_eviction(self) -> int | None:
        """Return the first query that misses a token; None if none ever does."""
        return None if self.budget is None else self.budget + 1


DENSE = Visibility(n_sink=0, window_size=None)


def evicted_tokens(lengths: Sequence[int], budget: int) -> int:
    """Return how many tokens are evicted over documents of these lengths (in tokens)."""
    return sum(max(0, length - 1 - budget) for length in lengths)


def compression_ratio(lengths: Sequence[int], budget: int) -> float:
    """Return the share of tokens that the cache does not hold at the end of the documents."""
    return 1.0 - sum(min(length, budget) for length in lengths) / sum(lengths)


def recompute_windows(
    n_queries: int, budget: int, stride: int, start: int = 0
) -> list[tuple[int, int, int]]:
    """Return (first token, end token, first scored query) of every forward of `recompute`.

    One forward over tokens [first, end) scores the queries [scored, end). The first one scores
    all queries that have their whole past in the budget; the following ones advance by `stride`.
    Queries before `start` are not scored.
    """
    end = max(start, min(n_queries, budget + 1))
    windows = [(0, end, start)] if start < end else []
    while end < n_queries:
        scored, end = end, min(n_queries, end + stride)
        windows.append((max(0, end - 1 - budget), end, scored))
    return windows


def visibility_of(spec: EvalSpec) -> Visibility:
    """Return which keys the queries of a `streaming` or `dense` spec see."""
    if spec.method == "dense":
        return DENSE
    return Visibility(spec.n_sink, spec.window_size)


def additive_mask(
    queries: Tensor, keys: Tensor, visibility: Visibility, dtype: torch.dtype
) -> Tensor:
    """Return 0 where the query sees the key and -inf elsewhere: [n_queries, n_keys].

    The tensor form of `Visibility.sees`.
    """
    query, key = queries[:, None], keys[None, :]
    visible = key <= query
    if visibility.window_size is not None:
        visible &= (key < visibility.n_sink) | (key >= query - visibility.window_size)
    mask = torch.zeros(visible.shape, dtype=dtype, device=queries.device)
    return mask.masked_fill_(~visible, float("-inf"))


def layer_visibility(visibility: Visibility, sliding_window: int | None) -> Visibility:
    """Combine our visibility with the model's own sliding window in a layer.

    A streaming cache that fits into the layer's window is not restricted by it; dense attention
    becomes the layer's own window. Anything else is refused.
    """
    if sliding_window is None:
        return visibility
    if visibility.budget is None:
        return Visibility(n_sink=0, window_size=sliding_window - 1)
    if visibility.budget + 1 > sliding_window:
        raise UnsupportedModelError(
            f"the model's own sliding window of {sliding_window} tokens is shorter than the "
            f"{visibility.budget + 1} keys of this evaluation; choose n_sink + window_size < "
            f"{sliding_window}"
        )
    return visibility
