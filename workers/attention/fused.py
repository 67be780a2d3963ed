"""Fused attention over the recent keys, mixed with the few sinks by log-sum-exp.

A query is rotated otherwise for the sinks than for the recent keys (docs/method.md), so no single
fused call covers both. A fused kernel attends to the recent keys and tells the logarithm of its
softmax's denominator; the sinks are weighed plainly; exp(log-sum-exp) of both says in which
proportion the two outputs are mixed (as the blocks are in Dao et al., FlashAttention, arXiv
2205.14135). No score of a recent key is ever in memory.

A kernel is used where a trial on the device shows that it gives what plain attention gives.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from workers.attention.interface import folded_scores


@dataclass(frozen=True)
class Recent:
    """What a kernel attends; everything rotated, the last n of the m keys those of the queries.

    query: [batch, heads, n, head_dim]; key, value: [batch, kv_heads, m, head_dim].
    window_size: keys before its own that a query sees; None: all.
    mask: makes the same as an additive mask, [n, m], for kernels that cannot count.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    scaling: float
    window_size: int | None
    mask: Callable[[], Tensor]


@dataclass(frozen=True)
class Sinks:
    """The sinks and the query rotated for them: [batch, kv_heads or heads, n, head_dim]."""

    query: Tensor
    key: Tensor
    value: Tensor


Kernel = Callable[[Recent], tuple[Tensor, Tensor]]
"""Returns the output, [batch, heads, n, head_dim], and log-sum-exp, float32 [batch, heads, n]."""

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}
"""Largest difference of a trial from plain attention in float32, on values of order 1."""


def attend_fused(kernel: Kernel, recent: Recent, sinks: Sinks | None) -> Tensor:
    """Return the attention to recent keys and sinks together, [batch, heads, n, head_dim]."""
    output, log_sum = kernel(recent)
    if sinks is None:
        return output
    scores = folded_scores(sinks.query, sinks.key, recent.scaling).float()
    folded_sum = log_sum.reshape(scores.shape[:-1])
    total = torch.logaddexp(folded_sum, scores.logsumexp(dim=-1))
    weights = (scores - total[..., None]).exp().to(sinks.value.dtype)
    of_sinks = torch.bmm(weights, sinks.value.flatten(0, 1)).float()
    of_recent = output.reshape(of_sinks.shape) * (folded_sum - total).exp()[..., None]
    return (of_recent + of_sinks).to(output.dtype).view(output.shape)


@functools.lru_cache
def kernel_for(
    device: torch.device, dtype: torch.dtype, head_dim: int, groups: int
) -> Kernel | None:
    """Return the kernel to use; None where none is at hand or none passes its trial.

    groups: query heads per key head.
    """
    kernel = {"cpu": flash_on_cpu, "cuda": flash_on_cuda}.get(device.type)
    if kernel is None or dtype not in TOLERANCE:
        return None
    n, m = 24, 40
    generator = torch.Generator().manual_seed(0)
    shapes = [(1, 2 * groups, n, head_dim), (1, 2, m, head_dim), (1, 2, m, head_dim)]
    try:
        query, key, value = (
            torch.randn(shape, generator=generator).to(device, dtype) for shape in shapes
        )
        trials = (_difference(kernel, query, key, value, window) for window in (16, None))
        return kernel if all(trial <= TOLERANCE[dtype] for trial in trials) else None
    except torch.OutOfMemoryError:  # says nothing about the kernel: the next one tries again
        raise
    except (RuntimeError, ImportError, AttributeError, TypeError):  # not in this torch, or not here
        return None


def flash_on_cpu(recent: Recent) -> tuple[Tensor, Tensor]:
    """Run torch's own CPU kernel, the one behind `scaled_dot_product_attention`."""
    batch, heads, n, head_dim = recent.query.shape
    kv_heads = recent.key.shape[1]
    query = recent.query.reshape(batch * kv_heads, heads // kv_heads, n, head_dim)
    key, value = (part.unsqueeze(2).flatten(0, 1) for part in (recent.key, recent.value))
    size = (-1, query.shape[1], -1, -1)  # heads that share a key: the same memory, seen again
    output, log_sum = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(  # noqa: SLF001
        query,
        key.expand(size),
        value.expand(size),
        attn_mask=recent.mask()[None, None],
        scale=recent.scaling,
    )
    return output.reshape(recent.query.shape), log_sum.reshape(recent.query.shape[:-1])


def flash_on_cuda(recent: Recent) -> tuple[Tensor, Tensor]:
    """Run FlashAttention with its own window (half precision); sequences are laid end to end."""
    from torch.nn.attention.varlen import AuxRequest, varlen_attn  # since torch 2.10

    batch, heads, n, head_dim = recent.query.shape
    m, device = recent.key.shape[2], recent.query.device
    output, log_sum = varlen_attn(
        recent.query.transpose(1, 2).flatten(0, 1),
        recent.key.transpose(1, 2).flatten(0, 1),
        recent.value.transpose(1, 2).flatten(0, 1),
        torch.arange(0, batch * n + 1, n, dtype=torch.int32, device=device),
        torch.arange(0, batch * m + 1, m, dtype=torch.int32, device=device),
        n,
        m,
        return_aux=AuxRequest(lse=True),
        scale=recent.scaling,
        window_size=(-1 if recent.window_size is None else recent.window_size, 0),
        enable_gqa=heads != recent.key.shape[1],
    )
    output = output.view(batch, n, heads, head_dim).transpose(1, 2)
    return output, log_sum.view(heads, batch, n).transpose(0, 1)  # it comes heads first


def _difference(
    kernel: Kernel, query: Tensor, key: Tensor, value: Tensor, window_size: int | None
) -> float:
    """Return the largest difference from plain attention in float32; NaN if there is one.

    Of output and log-sum-exp, with a window or without.
    """
    behind = torch.arange(query.shape[2])[:, None] + key.shape[2] - query.shape[2]
    behind = behind - torch.arange(key.shape[2])
    hidden = (behind < 0) | (behind > (key.shape[2] if window_size is None else window_size))
    mask = torch.zeros(hidden.shape).masked_fill_(hidden, float("-inf")).to(query)
    trial = Recent(query, key, value, query.shape[-1] ** -0.5, window_size, lambda: mask)
    output, log_sum = kernel(trial)
    scores = folded_scores(query.float(), key.float(), trial.scaling)
    scores = scores.view(-1, *mask.shape) + mask.float()
    groups = query.shape[1] // key.shape[1]
    values = value.float().repeat_interleave(groups, dim=1)
    expected = scores.softmax(dim=-1) @ values.flatten(0, 1)
    of_output = (output.float().reshape(expected.shape) - expected).abs().max()
    of_log_sum = (log_sum.reshape(scores.shape[:-1]) - scores.logsumexp(dim=-1)).abs().max()
    return float(torch.maximum(of_output, of_log_sum))
