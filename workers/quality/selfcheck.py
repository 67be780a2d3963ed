"""The self-check that every worker makes before it is believed.

Once per model and dtype, in float32: (1) our dense pass must give the logits of transformers' own
forward, over more tokens than the model's own sliding windows see, which refuses models whose
attention we do not reproduce; (2) the parallel pass must give the losses of the real rolling-cache
decode, with S' = min(S, 4) and W' = min(W, 60) over 256 tokens, so that about 190 evictions are
compared. The largest difference of (2), in nats, goes into every row of the worker.

Where memory holds no float32 copy of the model, its layers are turned into float32 one at a time
while they run, and (2) takes fewer tokens; all layers are checked all the same.
"""

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from workers.attention.chunked import ChunkedPass, State
from workers.attention.interface import NAME, empty_states, run, switch, using
from workers.attention.native import check_native
from workers.attention.ring import RingPass
from workers.attention.rotary import Rotary
from workers.attention.visibility import DENSE, Visibility
from workers.contract.errors import NumericalError, UnsupportedModelError
from workers.contract.spec import EvalSpec
from workers.device import free_memory_bytes
from workers.models.loading import LoadedModel
from workers.quality.nll import stream_nll, token_nll

CHECK_TOKENS = 256
NATIVE_TOKENS = 64
MOST_NATIVE_TOKENS = {"cpu": 1100, "cuda": 4200}
"""Beyond these the model's own windows are left to the probe, which reads their rule."""
BEYOND = 40
"""Tokens that are compared beyond the longest own window."""
MAX_SINK, MAX_WINDOW = 4, 60
PARITY_TOLERANCE = 1e-3
"""Nats; float32 rounding is about 1e-5."""
PARITY_PER_LOGIT = 3e-5
"""Nats allowed per size of the largest logit, whose rounding grows with it."""
NATIVE_TOLERANCE = 1e-3
"""Relative to the largest logit of transformers' own forward."""
FEW_TOKENS, FEW_WINDOW = 40, 12
"""What (2) compares where every step turns all layers into float32 anew."""


def self_check(loaded: LoadedModel, spec: EvalSpec) -> float | None:
    """Return the largest difference between the two passes, in nats.

    None for a family that is evaluated token by token: it has one pass, which is checked against
    the library's own forward.

    Raises `UnsupportedModelError` if our attention is not the model's, and `NumericalError` if
    the parallel pass is not the rolling cache.
    """
    roomy = _float32_fits(loaded)
    with _in_float32(loaded, roomy=roomy) as model:
        if loaded.rotary is None:
            check_native(model, loaded.vocab_size, loaded.device)
            return None
        n_tokens = CHECK_TOKENS if roomy else FEW_TOKENS
        n_native = _native_tokens(loaded.rotary, loaded.device)
        generator = torch.Generator().manual_seed(0)
        length = max(n_tokens + 1, n_native)
        ids = torch.randint(loaded.vocab_size, (length,), generator=generator).to(loaded.device)
        largest = _compare_with_native(model, loaded.rotary, ids[:n_native])
        visibility = _small(spec, loaded.rotary, MAX_WINDOW if roomy else FEW_WINDOW)
        difference = parity(model, loaded, ids[: n_tokens + 1], visibility)
    allowed = max(PARITY_TOLERANCE, PARITY_PER_LOGIT * largest)
    if not difference <= allowed and loaded.rotary.recurrent:
        raise UnsupportedModelError(
            f"the recurrent state that {type(loaded.model).__name__} carries token by token is not "
            f"that of its own forward (losses differ by {difference:.2g} nats; allowed: "
            f"{allowed:.2g})"
        )
    if not difference <= allowed:
        raise NumericalError(
            f"self-check failed: the parallel pass differs from the rolling cache by "
            f"{difference:.3g} nats (allowed: {allowed:.3g}); please report this model"
        )
    return difference


def parity(model: Any, loaded: LoadedModel, ids: Tensor, visibility: Visibility) -> float:
    """Return max |nll| difference between parallel pass and ring decode over token ids [T]."""
    rotary = loaded.rotary
    assert rotary is not None
    chunk = max(7, len(ids) * 2 // 5)
    parallel = torch.cat(
        [part.nll for part in stream_nll(model, rotary, ids, visibility, chunk=chunk)]
    )
    span = range(len(ids) - 1)
    nothing = State({}, empty_states(model) if rotary.recurrent else None)
    ring = RingPass(rotary, visibility, nothing, span, loaded.device)
    losses = []
    with torch.inference_mode(), using(ring):
        for query in span:
            ring.begin()
            logits = run(model, ids[None, query : query + 1], states=ring.recurrent)[0]
            ring.end()
            losses.append(token_nll(logits, ids[query + 1 : query + 2]))
    return float((torch.cat(losses).cpu() - parallel).abs().max())


def _small(spec: EvalSpec, rotary: Rotary, most: int) -> Visibility:
    """Return a small cache of the spec's kind, within the positions that the model is known at."""
    n_sink, window_size = MAX_SINK, most
    if spec.method == "streaming":
        n_sink, window_size = min(spec.n_sink, MAX_SINK), min(spec.window_size, most)
    if rotary.limit is not None:
        window_size = max(0, min(window_size, rotary.limit - 1 - n_sink))
    return Visibility(n_sink, window_size)


def _native_tokens(rotary: Rotary, device: torch.device) -> int:
    """Return how many tokens to compare: more than own windows see, if that is affordable."""
    beyond = max([0, *(window + BEYOND for window in rotary.windows if window is not None)])
    affordable = beyond <= MOST_NATIVE_TOKENS.get(device.type, NATIVE_TOKENS)
    n_tokens = max(NATIVE_TOKENS, beyond) if affordable else NATIVE_TOKENS
    return n_tokens if rotary.limit is None else min(n_tokens, rotary.limit)


def _compare_with_native(model: Any, rotary: Rotary, ids: Tensor) -> float:
    """Refuse a model whose own attention and positions ours do not reproduce.

    Returns the largest logit.
    """
    attention = ChunkedPass(rotary, DENSE)
    attention.begin(len(ids), ids.device)
    with torch.inference_mode(), using(attention):
        ours = run(model, ids[None])
    switch(model, "eager")
    try:
        with torch.inference_mode():
            native = model(input_ids=ids[None], use_cache=False).logits
    finally:
        switch(model, NAME)
    largest = float(native.abs().max())
    difference = float((ours - native).abs().max()) / largest
    if not difference <= NATIVE_TOLERANCE:
        raise UnsupportedModelError(
            f"{type(model).__name__} places positions or attends in a way we do not reproduce "
            f"(logits differ by {difference:.2g} of their range from transformers' own forward); "
            "supported families: docs/models.md"
        )
    return largest


def _float32_fits(loaded: LoadedModel) -> bool:
    """Tell whether the model is float32, or memory holds a copy of it that is."""
    needed = 4 * sum(parameter.numel() for parameter in loaded.model.parameters())
    return loaded.dtype == torch.float32 or needed < 0.8 * _free_bytes(loaded.device)


def _free_bytes(device: torch.device) -> int:
    if (free := free_memory_bytes(device)) is not None:
        return free
    import psutil  # only here: a GPU machine may have little more than torch

    return int(psutil.virtual_memory().available)


@contextmanager
def _in_float32(loaded: LoadedModel, *, roomy: bool) -> Iterator[Any]:
    """Yield the model in float32: itself, a copy, or itself, part by part while it runs."""
    if loaded.dtype == torch.float32:
        yield loaded.model
    elif roomy:
        yield copy.deepcopy(loaded.model).float()
    else:
        with ExitStack() as hooks:
            for part in _parts(loaded.model):
                hooks.enter_context(_float32_while_running(part))
            yield loaded.model


def _parts(module: nn.Module) -> Iterator[nn.Module]:
    """Yield what is turned into float32 as a whole: every layer of a list, and what has weights."""
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield from child
        elif next(child.parameters(recurse=False), None) is not None:
            yield child
        else:
            yield from _parts(child)


@contextmanager
def _float32_while_running(part: nn.Module) -> Iterator[None]:
    """Turn the weights of a part into float32 before each of its forwards, and back after it."""
    held: list[Tensor] = []

    def widen(*_: Any) -> None:
        held.extend(parameter.data for parameter in part.parameters())
        for parameter in part.parameters():
            parameter.data = parameter.data.float()

    def restore(*_: Any) -> None:
        for parameter, data in zip(part.parameters(), held, strict=True):
            parameter.data = data
        held.clear()

    hooks = [
        part.register_forward_pre_hook(widen),
        part.register_forward_hook(restore, always_call=True),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
