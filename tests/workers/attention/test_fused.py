"""Fused attention: what a kernel has to give, and when none is used."""

import pytest
import torch

from tests.support.models import random_ids, tiny
from workers.attention import fused
from workers.attention.fused import Recent, Sinks, attend_fused, flash_on_cpu, kernel_for
from workers.attention.interface import LayerCall, weigh
from workers.attention.visibility import DENSE, Visibility, additive_mask
from workers.quality.nll import stream_nll

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _no_memory_of_trials():
    kernel_for.cache_clear()
    yield
    kernel_for.cache_clear()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("groups", [1, 4])
def test_torchs_own_kernel_passes_its_trial_on_a_cpu(dtype, groups):
    assert kernel_for(CPU, dtype, 64, groups) is flash_on_cpu


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("n_sink", [0, 1, 4])
def test_fused_and_plain_attention_agree(batch, kv_heads, n_sink):
    heads, n, head_dim, window = 4, 30, 16, 12
    generator = torch.Generator().manual_seed(0)

    def states(count, size):
        return torch.randn((batch, count, size, head_dim), generator=generator)

    positions = torch.cat([torch.arange(n_sink), torch.arange(100 - window, 100 + n)])
    query, sink_query = states(heads, n), states(heads, n)
    key, value = states(kv_heads, len(positions)), states(kv_heads, len(positions))
    visibility = Visibility(n_sink, window)
    mask = additive_mask(torch.arange(100, 100 + n), positions, visibility, query.dtype)
    call = LayerCall(0, query, key, value, head_dim**-0.5, None, None)
    expected = weigh(query, key, value, call, sink_query=sink_query, n_sink=n_sink, mask=mask)
    recent = Recent(
        query,
        key[:, :, n_sink:],
        value[:, :, n_sink:],
        head_dim**-0.5,
        window,
        lambda: mask[:, n_sink:],
    )
    sinks = Sinks(sink_query, key[:, :, :n_sink], value[:, :, :n_sink]) if n_sink else None
    actual = attend_fused(flash_on_cpu, recent, sinks)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-6)


def _wrong_output(recent: Recent) -> tuple[torch.Tensor, torch.Tensor]:
    output, log_sum = flash_on_cpu(recent)
    return output * 1.01, log_sum


def _wrong_log_sum(recent: Recent) -> tuple[torch.Tensor, torch.Tensor]:
    output, log_sum = flash_on_cpu(recent)
    return output, log_sum + 0.01


def _nan(recent: Recent) -> tuple[torch.Tensor, torch.Tensor]:
    output, log_sum = flash_on_cpu(recent)
    return output, log_sum * float("nan")


def _one_key_too_many(recent: Recent) -> tuple[torch.Tensor, torch.Tensor]:
    mask = recent.mask().clone()
    mask[-1] = 0.0
    fields = (recent.query, recent.key, recent.value, recent.scaling, recent.window_size)
    return flash_on_cpu(Recent(*fields, lambda: mask))


def _heads_last(recent: Recent) -> tuple[torch.Tensor, torch.Tensor]:
    output, log_sum = flash_on_cpu(recent)
    return output, log_sum.transpose(1, 2).contiguous()


def _absent(recent: Recent) -> tuple[torch.Tensor, torch.Tensor]:
    raise ImportError("no such kernel in this torch")


@pytest.mark.parametrize(
    "kernel", [_wrong_output, _wrong_log_sum, _nan, _one_key_too_many, _heads_last, _absent]
)
def test_a_kernel_that_fails_its_trial_is_not_used_and_nothing_changes(kernel, monkeypatch):
    loaded, ids = tiny("llama"), random_ids(120)

    def losses():
        pieces = stream_nll(loaded.model, loaded.rotary, ids, Visibility(4, 28), 40)
        return torch.cat([piece.nll for piece in pieces])

    expected = losses()
    kernel_for.cache_clear()
    monkeypatch.setattr(fused, "flash_on_cpu", kernel)
    torch.testing.assert_close(losses(), expected, rtol=0, atol=1e-5)
    assert kernel_for(CPU, torch.float32, 16, 2) is None


def test_a_trial_that_runs_out_of_memory_says_nothing_about_the_kernel(monkeypatch):
    def full(_):
        raise torch.OutOfMemoryError("the device is full")

    with monkeypatch.context() as patched:
        patched.setattr(fused, "flash_on_cpu", full)
        with pytest.raises(torch.OutOfMemoryError):
            kernel_for(CPU, torch.float32, 64, 1)
    assert kernel_for(CPU, torch.float32, 64, 1) is flash_on_cpu


def test_no_kernel_in_a_number_format_without_a_tolerance():
    assert kernel_for(CPU, torch.float64, 64, 1) is None


@pytest.mark.parametrize("visibility", [DENSE, Visibility(4, 28), Visibility(0, 28)], ids=str)
def test_every_chunk_but_a_soft_capped_one_is_fused(visibility, monkeypatch):
    calls = []

    def counted(recent):
        calls.append(recent.query.shape[2])
        return flash_on_cpu(recent)

    loaded, ids = tiny("llama"), random_ids(200)
    monkeypatch.setattr(fused, "flash_on_cpu", counted)
    kernel_for(CPU, torch.float32, 16, 2)
    calls.clear()
    list(stream_nll(loaded.model, loaded.rotary, ids, visibility, 50))
    assert sum(calls) == 199 * loaded.n_layers


def _plain_varlen(
    query,
    key,
    value,
    cu_seq_q,
    cu_seq_k,
    max_q,
    max_k,
    *,
    return_aux,
    scale,
    window_size,
    enable_gqa,
):
    """What the documentation of `varlen_attn` promises, in a loop over sequences and heads."""
    assert return_aux.lse
    outputs, sums = [], []
    for begin_q, end_q, begin_k, end_k in zip(
        cu_seq_q[:-1], cu_seq_q[1:], cu_seq_k[:-1], cu_seq_k[1:], strict=True
    ):
        n, m = int(end_q - begin_q), int(end_k - begin_k)
        assert (n, m) == (max_q, max_k)
        own = torch.arange(n)[:, None] + m - n  # aligned at the last key
        at = torch.arange(m)[None]
        seen = (at <= own + window_size[1]) & ((window_size[0] < 0) | (at >= own - window_size[0]))
        heads, groups = query.shape[1], query.shape[1] // key.shape[1]
        assert enable_gqa or groups == 1
        for head in range(heads):
            scores = query[begin_q:end_q, head] @ key[begin_k:end_k, head // groups].T * scale
            scores = scores.masked_fill(~seen, float("-inf"))
            outputs.append(scores.softmax(-1) @ value[begin_k:end_k, head // groups])
            sums.append(scores.logsumexp(-1))
    shape = (len(cu_seq_q) - 1, query.shape[1], -1)
    output = torch.stack(outputs).view(*shape, query.shape[2]).transpose(1, 2).flatten(0, 1)
    return output, torch.stack(sums).view(shape).transpose(0, 1).flatten(1)


@pytest.mark.parametrize("window", [12, None])
@pytest.mark.parametrize(("batch", "kv_heads"), [(1, 4), (3, 4), (3, 2)])
def test_the_cuda_kernel_is_called_as_its_documentation_asks(batch, kv_heads, window, monkeypatch):
    """The layouts alone: no GPU takes part."""
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", _plain_varlen)
    generator = torch.Generator().manual_seed(0)
    shapes = [(batch, 4, 9, 16), (batch, kv_heads, 21, 16), (batch, kv_heads, 21, 16)]
    query, key, value = (torch.randn(shape, generator=generator) for shape in shapes)
    mask = additive_mask(torch.arange(12, 21), torch.arange(21), Visibility(0, window), query.dtype)
    recent = Recent(query, key, value, 0.25, window, lambda: mask)
    for actual, expected in zip(fused.flash_on_cuda(recent), flash_on_cpu(recent), strict=True):
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("groups", [1, 4])
def test_flash_attention_passes_its_trial_on_a_gpu(groups):
    device = torch.device("cuda")
    assert kernel_for(device, torch.bfloat16, 64, groups) is fused.flash_on_cuda
