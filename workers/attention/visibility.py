"""Which keys a query sees under each method, and what follows from it; pure arithmetic.

Eviction happens after the forward, as in mit-han-lab/streaming-llm: the query at position t is
attended together with the B = S + W cached tokens, so it sees up to B + 1 keys, itself included,
and the first query that misses a token is t = B + 1 (Xiao et al., arXiv 2309.17453, section 3).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from workers.contract.errors import UnsupportedModelError
from workers.contract.spec import EvalSpec

MASKED_QUERIES = (2, 61, 130, 5_003, 2**20 + 7)
"""Queries at which the rule of a mask is read."""


@dataclass(frozen=True)
class Visibility:
    """The keys of a streaming query: `n_sink` first tokens and the `window_size` before it.

    A window of None never evicts: dense attention. own_window: a layer's own sliding window w, in
    which a key is seen only if its in-cache distance is below w (`layer_visibility`).
    """

    n_sink: int
    window_size: int | None
    own_window: int | None = None

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
        if self.window_size is None or key >= max(self.n_sink, query - self.window_size):
            return True
        return self.first_visible_sink(query) <= key < self.n_sink

    def first_visible_sink(self, query: int) -> int:
        """Return the first sink that the layer's own window leaves: min(t, B) - i < w."""
        if self.own_window is None:
            return 0
        return max(0, self.sink_distance_position(query) - self.own_window + 1)

    def oldest_recent(self, query: int) -> int:
        """Return the first position outside the sinks that the query sees (it may be itself)."""
        if self.window_size is None:
            return min(self.n_sink, query)
        return max(min(self.n_sink, query), query - self.window_size)

    def sink_distance_position(self, query: int) -> int:
        """Return the position from which the query's distance to the sinks is counted."""
        return query if self.budget is None else min(query, self.budget)

    def first_restricted(self) -> int | None:
        """Return the first query that does not see all keys before it; None if there is none."""
        if self.budget is None:
            return None
        return min(self.budget + 1, self.own_window or self.budget + 1)


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
    if visibility.budget is not None and visibility.window_size is not None:
        sink = key < visibility.n_sink
        if visibility.own_window is not None:
            sink = sink & (query.clamp(max=visibility.budget) - key < visibility.own_window)
        recent = (key >= visibility.n_sink) & (key >= query - visibility.window_size)
        visible = visible & (sink | recent)
    mask = torch.zeros(visible.shape, dtype=dtype, device=queries.device)
    return mask.masked_fill_(~visible, float("-inf"))


def layer_visibility(visibility: Visibility, own_window: int | None) -> Visibility:
    """Combine our visibility with the model's own sliding window w in a layer.

    A key is seen there if the streaming cache holds it and its in-cache distance to the query
    (recent key j: t - j; sink i: min(t, B) - i) is below w. If w > B that is no restriction; if
    w <= W + 1 no sink is ever near enough, and w - 1 recent keys and the query's own are left.
    """
    if own_window is None:
        return visibility
    if visibility.window_size is None or own_window <= visibility.window_size + 1:
        return Visibility(n_sink=0, window_size=own_window - 1)
    assert visibility.budget is not None
    if own_window > visibility.budget:
        return visibility
    return Visibility(visibility.n_sink, visibility.window_size, own_window)


def own_window(rule: Callable[..., Tensor]) -> int | None:
    """Return the sliding window w of a mask's rule: a query sees its last w keys; None: all.

    Raises `UnsupportedModelError` for any other rule (chunks, blocks, both directions).
    """
    _prolong(rule, MASKED_QUERIES[-1] + 2)
    found: set[int | None] = set()
    unrestricted = 0
    zero = torch.tensor(0)
    for query in MASKED_QUERIES:
        keys = torch.arange(query + 2)
        visible = rule(zero, zero, torch.tensor([query]), keys).expand(len(keys))
        n_visible = int(visible[: query + 1].sum())
        if visible[-1] or not visible[query + 1 - n_visible : query + 1].all() or not n_visible:
            found |= {-1, None}
        elif n_visible == query + 1:
            unrestricted = n_visible
        else:
            found.add(n_visible)
    if not found:
        return None
    window = found.pop()
    if found or window is None or window < unrestricted:
        raise UnsupportedModelError(
            "a layer hides keys by another rule than a sliding window (chunks, blocks, or later "
            "tokens that are seen), so no cache of recent keys is what it sees"
        )
    return window


def _prolong(rule: Any, length: int) -> None:
    """Let a rule speak of longer texts than the one that it was made for.

    It may hold a number per token, [batch, n]: of the picture that the token belongs to (Gemma 4),
    of its text, or whether it is padding. What all tokens of a text have, later ones have too.
    """
    held = [cell.cell_contents for cell in getattr(rule, "__closure__", None) or ()]
    for inner in (part for one in held for part in (one if isinstance(one, tuple) else (one,))):
        if callable(inner) and not isinstance(inner, Tensor):
            _prolong(inner, length)
    for cell, of_tokens in zip(getattr(rule, "__closure__", None) or (), held, strict=True):
        if isinstance(of_tokens, Tensor) and of_tokens.ndim == 2 and of_tokens.shape[1] < length:
            if not bool((of_tokens == of_tokens[:, :1]).all()):
                raise UnsupportedModelError(
                    "a layer hides keys by what their tokens are, not by how far away they are, so "
                    "no cache of recent keys is what it sees (see docs/models.md)"
                )
            cell.cell_contents = of_tokens[:, :1].expand(-1, length)
