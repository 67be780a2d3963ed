"""The self-check that every worker makes before it is believed.

Once per model and dtype, in float32: (1) our dense pass must give the logits of transformers' own
forward, over more tokens than the model's own sliding windows see, which refuses models whose
attention we do not reproduce; (2) the parallel pass must give the losses of the real rolling-cache
decode, with S' = min(S, 4) and W' = min(W, 60) over 256 tokens, so that about 190 evictions are
compared. The largest difference of (2), in nats, goes into every row of the worker.

Where memory holds no float32 copy of the model, its layers are turned into float32 one at a time
while they run, and (2) takes fewer tokens; all layers are checked all the same.
"""

from typing import Any, cast

import torch
from torch import Tensor

from workers.attention.chunked import ChunkedPass, State
from workers.attention.interface import NAME, empty_states, run, switch, using
from workers.attention.native import check_native
from workers.attention.probing.refusals import refused_if_it_fails
from workers.attention.ring import RingPass
from workers.attention.rotary import Rotary
from workers.attention.visibility import DENSE, Visibility
from workers.contract.errors import NumericalError, UnsupportedModelError
from workers.contract.spec import EvalSpec
from workers.device import free_memory_bytes
from workers.models.loading import LoadedModel
from workers.precision import in_float32
from workers.quality.nll import stream_nll, token_nll
from workers.quality.rounding import settled_difference

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


def self_check(
    loaded: LoadedModel, spec: EvalSpec, *, free_bytes: int | None = None
) -> float | None:
    """Return the largest difference between the two passes, in nats.

    None for a family that is evaluated token by token: it has one pass, which is checked against
    the library's own forward.

    free_bytes: memory for a copy of the model; None: what is free now.

    Raises `UnsupportedModelError` if our attention is not the model's, and `NumericalError` if
    the parallel pass is not the rolling cache.
    """
    roomy = _float32_fits(loaded, free_bytes)
    with refused_if_it_fails(loaded.model), in_float32(loaded.model, copied=roomy) as model:
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
        allowed = max(PARITY_TOLERANCE, PARITY_PER_LOGIT * largest)
        difference = parity(model, loaded, ids[: n_tokens + 1], visibility, allowed)
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


def parity(
    model: Any,
    loaded: LoadedModel,
    ids: Tensor,
    visibility: Visibility,
    allowed: float = PARITY_TOLERANCE,
) -> float:
    """Return max |nll| difference between parallel pass and ring decode over token ids [T].

    Where it is more than allowed: over the tokens that the model's own rounding does not decide.
    """
    rotary = loaded.rotary
    assert rotary is not None
    chunk = max(7, len(ids) * 2 // 5)

    def parallel() -> Tensor:
        parts = stream_nll(model, rotary, ids, visibility, chunk=chunk)
        return torch.cat([part.nll for part in parts])

    decoded = _decoded(model, loaded, ids, visibility)
    return settled_difference(model, decoded, parallel(), allowed, parallel)


def _decoded(model: Any, loaded: LoadedModel, ids: Tensor, visibility: Visibility) -> Tensor:
    """Return the losses [T - 1] of the rolling cache, token by token."""
    rotary = loaded.rotary
    assert rotary is not None
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
    return torch.cat(losses).cpu()


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
        ours = run(model, ids[None])[0]

    def own() -> Tensor:
        switch(model, "eager")
        try:
            with torch.inference_mode():
                return cast(Tensor, model(input_ids=ids[None], use_cache=False).logits[0])
        finally:
            switch(model, NAME)

    native = own()
    largest = float(native.abs().max())
    allowed = NATIVE_TOLERANCE * largest
    difference = settled_difference(model, ours, native, allowed, own)
    if not difference <= allowed:
        raise UnsupportedModelError(
            f"{type(model).__name__} places positions or attends in a way we do not reproduce "
            f"(logits differ by {difference / largest:.2g} of their range from transformers' own "
            "forward); supported families: docs/models.md"
        )
    return largest


def _float32_fits(loaded: LoadedModel, free_bytes: int | None) -> bool:
    """Tell whether the model is float32, or memory holds a copy of it that is."""
    if loaded.dtype == torch.float32:
        return True
    if free_bytes is None:
        free_bytes = free_memory_bytes(loaded.device)
    if free_bytes is None:
        import psutil  # only here: a GPU machine may have little more than torch

        free_bytes = int(psutil.virtual_memory().available)
    needed: int = 4 * sum(parameter.numel() for parameter in loaded.model.parameters())
    return needed < 0.8 * free_bytes
