"""Muon (Jordan et al. 2024): momentum whose update is made orthogonal before it is applied.

It reaches a loss in about half the tokens that Adam needs at this size, which is what counts on a
CPU, and its updates let attention logits grow large, which is what sinks need. The fused
query-key-value matrix is orthogonalised as three matrices.
"""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim import Optimizer

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5


def orthogonalised(matrices: Tensor) -> Tensor:
    """The nearest semi-orthogonal matrices, roughly, by Newton-Schulz; shape (..., m, n)."""
    a, b, c = NEWTON_SCHULZ
    x = matrices.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).to(matrices.dtype)


class Muon(Optimizer):
    """Muon for the two-dimensional weights inside a GPT-NeoX layer.

    ``heads``: the fused projection's rows are ordered (head, query-key-value, dimension).
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        *,
        lr: float,
        weight_decay: float,
        heads: int,
        momentum: float = 0.95,
    ) -> None:
        super().__init__(parameters, {"lr": lr})
        self._weight_decay = weight_decay
        self._momentum = momentum
        self._heads = heads

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Apply one update to every parameter that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                update = self._update(weight)
                weight.mul_(1 - group["lr"] * self._weight_decay)
                weight.add_(update, alpha=-group["lr"])

    def _update(self, weight: Tensor) -> Tensor:
        state = self.state[weight]
        momentum = state.setdefault("momentum", torch.zeros_like(weight))
        momentum.lerp_(weight.grad, 1 - self._momentum)
        gradient = weight.grad.lerp(momentum, self._momentum)
        rows, columns = gradient.shape
        if rows == 3 * columns:
            fused = gradient.view(self._heads, 3, -1, columns).transpose(0, 1)
            split = orthogonalised(fused.reshape(3, columns, columns))
            return split.view(3, self._heads, -1, columns).transpose(0, 1).reshape_as(gradient)
        return orthogonalised(gradient) * max(1.0, rows / columns) ** 0.5
