"""The self-check that every worker makes before it is believed.

Once per model and dtype, in float32: (1) our dense pass must give the logits of transformers' own
forward, which refuses models whose positions or attention we do not reproduce; (2) the parallel
pass must give the losses of the real rolling-cache decode, with S' = min(S, 4) and
W' = min(W, 60) over 256 tokens, so that about 190 evictions are compared. The largest difference
of (2), in nats, goes into every row of the worker.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from workers.attention.chunked import ChunkedPass
from workers.attention.interface import NAME, run, switch, using
from workers.attention.native import check_native
from workers.attention.ring import RingPass
from workers.attention.visibility import DENSE, Visibility
from workers.contract.errors import NumericalError, UnsupportedModelError
from workers.contract.spec import EvalSpec
from workers.device import free_memory_bytes
from workers.models.loading import LoadedModel
from workers.quality.nll import stream_nll, token_nll

CHECK_TOKENS = 256
NATIVE_TOKENS = 64
MAX_SINK, MAX_WINDOW = 4, 60
PARITY_TOLERANCE = 1e-3
"""Nats; float32 rounding is about 1e-5."""
NATIVE_TOLERANCE = 1e-3
"""Relative to the largest logit of transformers' own forward."""
KEPT_LAYERS = 2


def self_check(loaded: LoadedModel, spec: EvalSpec) -> float | None:
    """Return the largest difference between the two passes, in nats.

    None for a family that is evaluated token by token: it has one pass, which is checked against
    the library's own forward.

    Raises `UnsupportedModelError` if our attention is not the model's, and `NumericalError` if
    the parallel pass is not the rolling cache.
    """
    if loaded.rotary is None:
        with _in_float32(loaded) as model:
            check_native(model, loaded.vocab_size, loaded.device)
        return None
    with _in_float32(loaded) as model:
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(loaded.vocab_size, (CHECK_TOKENS + 1,), generator=generator)
        ids = ids.to(loaded.device)
        _compare_with_native(model, loaded, ids[:NATIVE_TOKENS])
        difference = parity(model, loaded, ids, _small(spec))
    if not difference <= PARITY_TOLERANCE:
        raise NumericalError(
            f"self-check failed: the parallel pass differs from the rolling cache by "
            f"{difference:.3g} nats (allowed: {PARITY_TOLERANCE:g}); please report this model"
        )
    return difference


def parity(model: Any, loaded: LoadedModel, ids: Tensor, visibility: Visibility) -> float:
    """Return max |nll| difference between parallel pass and ring decode over token ids [T]."""
    assert loaded.rotary is not None
    parallel = torch.cat(
        [part.nll for part in stream_nll(model, loaded.rotary, ids, visibility, chunk=100)]
    )
    span = range(len(ids) - 1)
    ring = RingPass(loaded.rotary, visibility, {}, span, loaded.device)
    losses = []
    with torch.inference_mode(), using(ring):
        for query in span:
            ring.begin()
            logits = run(model, ids[None, query : query + 1])[0]
            ring.end()
            losses.append(token_nll(logits, ids[query + 1 : query + 2]))
    return float((torch.cat(losses).cpu() - parallel).abs().max())


def _small(spec: EvalSpec) -> Visibility:
    if spec.method != "streaming":
        return Visibility(MAX_SINK, MAX_WINDOW)
    return Visibility(min(spec.n_sink, MAX_SINK), min(spec.window_size, MAX_WINDOW))


def _compare_with_native(model: Any, loaded: LoadedModel, ids: Tensor) -> None:
    """Refuse a model whose own attention and positions ours do not reproduce."""
    assert loaded.rotary is not None
    attention = ChunkedPass(loaded.rotary, DENSE)
    attention.begin(len(ids), ids.device)
    with torch.inference_mode(), using(attention):
        ours = run(model, ids[None])
    switch(model, "eager")
    with torch.inference_mode():
        native = model(input_ids=ids[None], use_cache=False).logits
    switch(model, NAME)
    difference = float((ours - native).abs().max() / native.abs().max())
    if not difference <= NATIVE_TOLERANCE:
        raise UnsupportedModelError(
            f"{type(model).__name__} places positions or attends in a way we do not reproduce "
            f"(logits differ by {difference:.2g} of their range from transformers' own forward); "
            "supported families: docs/models.md"
        )


@contextmanager
def _in_float32(loaded: LoadedModel) -> Iterator[Any]:
    """Yield the model in float32: itself, a copy, or its first layers where memory is short."""
    if loaded.dtype == torch.float32:
        yield loaded.model
        return
    needed = 4 * sum(parameter.numel() for parameter in loaded.model.parameters())
    if needed < 0.8 * _free_bytes(loaded.device):
        yield copy.deepcopy(loaded.model).float()
    else:
        yield _first_layers(loaded.model).float()


def _free_bytes(device: torch.device) -> int:
    if (free := free_memory_bytes(device)) is not None:
        return free
    import psutil  # only here: a GPU machine may have little more than torch

    return int(psutil.virtual_memory().available)


def _first_layers(model: Any) -> Any:
    """Return a copy of the model cut to its first layers."""
    decoder = getattr(model, model.base_model_prefix)
    layers = decoder.layers
    decoder.layers = nn.ModuleList(layers[:KEPT_LAYERS])
    try:
        return copy.deepcopy(model)
    finally:
        decoder.layers = layers
