"""What becomes of one causal-LM type: supported, with its limits and differences, or refused.

A tiny random model is loaded as any other, and what it is accepted for is compared per token with
an oracle that shares nothing with `workers/`: streaming with budgets below, just below and beyond
the type's own thresholds, in three chunk sizes and decoded through the ring, dense and recomputed.
The same weights in bfloat16, with no memory for a float32 copy, must end the same way.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.families.replay import own_forward, replayed_nll
from benchmarks.families.shapes import NOT_BUILT, VOCABULARY
from benchmarks.families.tiny import tiny_model
from workers.attention.chunked import state_before
from workers.attention.ring import RingPass
from workers.attention.visibility import DENSE, Visibility
from workers.contract.errors import SinkSweepError, UnsupportedModelError
from workers.contract.spec import EvalSpec
from workers.latency.steppers import RingStepper
from workers.models.checkpoint import Checkpoint
from workers.models.loading import LoadedModel, switched
from workers.quality.nll import recompute_nll, stream_nll, token_nll
from workers.quality.selfcheck import self_check

TOKENS = 130
SETTINGS = (Visibility(4, 110), Visibility(4, 97), Visibility(3, 40))
"""With own windows of 100: without sinks, a mask by in-cache distance, and no restriction."""
SHORT = Visibility(2, 9)
"""Shorter than what a recurrent state remembers."""
CHUNKS = (17, 60, 4096)
DECODED = 24
RECOMPUTED = 108
"""Budget of the recomputed windows; beyond the own thresholds."""
TOLERANCE = 1e-4
MOST = 1e-3
NOISE_FACTOR = 8
"""How much of the model's own float32 rounding may be in a difference, up to `MOST`."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How a type ended; the columns of the record that docs/models.md is made from."""

    model_type: str
    status: str
    """`exact`, `token by token`, `refused`, `wrong`, or `not built` (no tiny model of it)."""
    reason: str = ""
    limit: int | None = None
    traits: tuple[str, ...] = ()
    difference: float | None = None
    """Largest difference per token, in nats."""
    noise: float | None = None
    """Largest difference between the model's own forward in float32 and in float64."""


def judge(model_type: str) -> Verdict:
    """Build, load, check and compare one type."""
    try:
        model = tiny_model(model_type)
    except Exception as error:  # the library's own building: any kind
        reason = NOT_BUILT.get(model_type) or _first_line(error)
        return Verdict(model_type=model_type, status="not built", reason=reason)
    try:
        loaded = load_tiny(model)
        _check(loaded)
    except SinkSweepError as error:
        _refuse_in_half(model)
        return Verdict(model_type=model_type, status="refused", reason=_first_line(error))
    status = "exact" if loaded.rotary else "token by token"
    ids = _settled_ids(model)
    noise, differences = _differences(model, loaded, ids)
    if max(differences) > min(MOST, max(TOLERANCE, NOISE_FACTOR * noise)):
        status = "wrong"
    _check(load_tiny(in_bfloat16(model)), room=False)
    return Verdict(
        model_type=model_type,
        status=status,
        limit=loaded.rotary.limit if loaded.rotary else None,
        traits=tuple(_traits(loaded)),
        difference=float(f"{max(differences):.1e}"),
        noise=float(f"{noise:.1e}"),
    )


def load_tiny(model: Any) -> LoadedModel:
    """Return a copy of a model in memory as the evaluator would have loaded it."""
    return switched(
        Checkpoint(copy.deepcopy(model), "random"),
        key=type(model).__name__,
        tokenizer=None,
        device=torch.device("cpu"),
        dtype=model.dtype,
    )


def in_bfloat16(model: Any) -> Any:
    """Return a copy whose weights are rounded and whose frequencies are not, as loading does it."""
    model = copy.deepcopy(model)
    for parameter in model.parameters():
        parameter.data = parameter.data.bfloat16()
    return model


def random_ids(n_tokens: int = TOKENS, seed: int = 1) -> Tensor:
    """Return seeded token ids [n_tokens]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(VOCABULARY, (n_tokens,), generator=generator)


def _settled_ids(model: Any) -> Tensor:
    """Return ids on which the model's own rounding chooses no other expert, if a draw gives any."""
    for seed in range(1, 6):
        ids = random_ids(seed=seed)
        double = replayed_nll(model, ids, 0, None)
        if _largest(replayed_nll(model, ids, 0, None, torch.float32), double) <= MOST:
            break
    return ids


def _check(loaded: LoadedModel, *, room: bool = True) -> None:
    """Run the self-check, if need be with no memory for a copy of the model."""
    spec = EvalSpec(model="demo", dataset="pydoc", method="streaming")
    self_check(loaded, spec, free_bytes=None if room else 0)


def _refuse_in_half(model: Any) -> None:
    """Make sure that what float32 refuses is refused in bfloat16, with little memory, too."""
    try:
        _check(load_tiny(in_bfloat16(model)), room=False)
    except SinkSweepError:
        return
    raise AssertionError("refused in float32, accepted in bfloat16")


def _differences(model: Any, loaded: LoadedModel, ids: Tensor) -> tuple[float, list[float]]:
    """Return the model's own rounding, and the largest difference of every comparison."""
    limit = loaded.rotary.limit if loaded.rotary else None
    noise = 0.0
    found: list[float] = []
    recurrent = loaded.rotary is not None and loaded.rotary.recurrent
    for visibility in (*SETTINGS, SHORT) if recurrent else SETTINGS:
        if limit is not None and (visibility.budget or 0) + 1 > limit:
            _must_refuse(loaded, ids, visibility)
            continue
        expected = replayed_nll(model, ids, visibility.n_sink, visibility.window_size)
        if not found:
            rounded = replayed_nll(
                model, ids, visibility.n_sink, visibility.window_size, torch.float32
            )
            noise = _largest(rounded, expected)
        for chunk in CHUNKS if loaded.rotary else CHUNKS[:1]:
            pieces = stream_nll(loaded.model, loaded.rotary, ids, visibility, chunk)
            found.append(_largest(torch.cat([piece.nll for piece in pieces]), expected))
        if loaded.rotary:
            found += _decoded(loaded, ids, visibility, expected)
    length = min(TOKENS, limit or TOKENS)
    found.append(_dense(model, loaded, ids[: length + 1]))
    found.append(_recomputed(model, loaded, ids, min(RECOMPUTED, (limit or TOKENS) - 1)))
    return noise, found


def _must_refuse(loaded: LoadedModel, ids: Tensor, visibility: Visibility) -> None:
    try:
        list(stream_nll(loaded.model, loaded.rotary, ids, visibility))
    except UnsupportedModelError:
        return
    raise AssertionError("evaluated beyond the limit")


def _decoded(
    loaded: LoadedModel, ids: Tensor, visibility: Visibility, expected: Tensor
) -> Iterator[float]:
    """Yield differences of decoding, from before the cache is full and from exactly then on."""
    assert loaded.rotary is not None
    budget = visibility.budget or 0
    for start in (budget - 6, budget):
        span = range(start, min(start + DECODED, len(ids) - 1))
        state = state_before(loaded.model, loaded.rotary, ids[:start], visibility, chunk=40)
        ring = RingPass(loaded.rotary, visibility, state, span, loaded.device)
        stepper = RingStepper(loaded, ids, span, ring)
        for query in span:
            stepper.step()
            assert stepper.logits is not None
            loss = token_nll(stepper.logits[None], ids[query + 1 : query + 2])
            yield _largest(loss, expected[query : query + 1])


@torch.no_grad()
def _dense(model: Any, loaded: LoadedModel, ids: Tensor) -> float:
    own = own_forward(model, torch.float64)
    logits = own(input_ids=ids[None, :-1], use_cache=False).logits[0].double()
    expected = torch.nn.functional.cross_entropy(logits, ids[1:], reduction="none")
    pieces = stream_nll(loaded.model, loaded.rotary, ids, DENSE, 50)
    return _largest(torch.cat([piece.nll for piece in pieces]), expected)


@torch.no_grad()
def _recomputed(model: Any, loaded: LoadedModel, ids: Tensor, budget: int) -> float:
    own = own_forward(model, torch.float64)
    windows = ids[:-1].unfold(0, budget + 1, 1)
    logits = own(input_ids=windows, use_cache=False).logits
    logits = torch.cat([logits[0], logits[1:, -1]]).double()
    expected = torch.nn.functional.cross_entropy(logits, ids[1:], reduction="none")
    pieces = recompute_nll(loaded.model, loaded.rotary, ids, budget, batch_tokens=600)
    return _largest(torch.cat([piece.nll for piece in pieces]), expected)


def _largest(actual: Tensor, expected: Tensor) -> float:
    difference = float((actual.double() - expected.double()).abs().max())
    return difference if difference == difference else float("inf")


def _traits(loaded: LoadedModel) -> list[str]:
    """Return what is particular about a type, in the words of docs/models.md."""
    rotary = loaded.rotary
    if rotary is None:
        return ["own attention"]
    used = [rotary.placements[index] for index in rotary.of_layer]
    turning = [placement for placement in used if len(placement.frequency)]
    dims = {layer.head_dim for layer in loaded.layers}
    has_window = [window is not None for window in rotary.windows]
    whole = [2 * len(placement.frequency) >= min(dims) for placement in turning]
    found = {
        "no positions": not turning,
        "layers without positions": bool(turning) and len(turning) < len(used),
        "two rotary frequencies": len({tuple(p.frequency.tolist()) for p in turning}) > 1,
        "interleaved rotary": any(placement.interleaved for placement in turning),
        "rotates backwards": any(bool((p.frequency < 0).all()) for p in turning),
        "partial rotary": not all(whole) and not loaded.latent_dim,
        "latent attention": loaded.latent_dim is not None,
        "own sliding window": all(has_window),
        "own sliding window in some layers": any(has_window) and not all(has_window),
        "recurrent state": rotary.recurrent,
        "one pass over the text": rotary.one_pass,
        "layers share keys": any(layer.shared for layer in loaded.layers),
        "head sizes differ": len(dims) > 1,
        "sink logits or capped scores": not all(layer.plain for layer in loaded.layers),
    }
    return [trait for trait, holds in found.items() if holds]


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
