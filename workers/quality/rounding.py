"""Which tokens of a text a model's own rounding leaves alone.

A mixture of experts chooses. Where two experts score alike, float32 rounding chooses, and each of
two right ways of computing the model may choose otherwise: from there on they differ. So two ways
that differ are compared where the model is settled: where embeddings that differ by as little as
rounding adds up to change nothing either.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from workers.contract.errors import UnsupportedModelError

NUDGE = 1e-6
"""Relative change of the embeddings; float32 rounds to 6e-8, many times over in each layer."""
NUDGES = 3
LEAST_SETTLED = 0.25
"""Share of the tokens that has to be settled for a comparison to mean something."""


def settled_difference(
    model: Any, ours: Tensor, theirs: Tensor, allowed: float, again: Callable[[], Tensor]
) -> float:
    """Return the largest |ours - theirs|, [T] or [T, n], over tokens that rounding does not decide.

    again: computes `theirs` anew, with the model as it then is; called only where a difference is
    larger than allowed.

    Raises `UnsupportedModelError` if rounding decides nearly every token.
    """
    difference = _per_token(ours, theirs)
    if bool((difference <= allowed).all()):
        return float(difference.max())
    moved = torch.zeros_like(difference)
    for seed in range(NUDGES):
        with _nudged(model.get_input_embeddings(), seed):
            moved = torch.maximum(moved, _per_token(again(), theirs))
    settled = moved <= allowed
    if float(settled.float().mean()) < LEAST_SETTLED:
        raise UnsupportedModelError(
            f"float32 rounding alone changes what {type(model).__name__} predicts by "
            f"{float(moved.max()):.2g} (allowed: {allowed:.2g}), so no two ways of running it can "
            "be compared (see docs/models.md)"
        )
    return float(difference[settled].max())


def _per_token(one: Tensor, other: Tensor) -> Tensor:
    """Return the largest |difference| of every token [T]; what is not finite is infinite."""
    difference = (one - other).abs().reshape(len(one), -1).amax(dim=1)
    return torch.where(difference.isfinite(), difference, torch.inf)


@contextmanager
def _nudged(embeddings: nn.Module, seed: int) -> Iterator[None]:
    """Change what the embeddings give by a random relative `NUDGE`, the same for the same id."""

    def nudge(_: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(output.shape[-1], generator=generator).to(output.device)
        return output * (1 + NUDGE * noise).to(output.dtype)

    hook = embeddings.register_forward_hook(nudge)
    try:
        yield
    finally:
        hook.remove()
