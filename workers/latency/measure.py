"""Decode timing: the last scored positions of a document, one token at a time.

Every method and budget is timed on the same queries, teacher-forced, after the same number of
untimed warm-up steps, several times over. The state before them comes from the parallel pass.
Loading, tokenisation and the parallel pass are outside every timing.
"""

from collections.abc import Generator
from typing import Any

import numpy as np
from torch import Tensor

from workers.attention.chunked import CHUNK, state_before
from workers.attention.native import NativeDecoder
from workers.attention.ring import RingPass
from workers.attention.visibility import visibility_of
from workers.contract.events import Progress
from workers.contract.spec import EvalSpec
from workers.device import peak_memory_bytes, reset_peak_memory
from workers.latency.repeats import Decode, DecodePlan, decoding, plan_decode
from workers.latency.replay import recorded
from workers.latency.steppers import NativeStepper, Recordable, RingStepper, Stepper, WindowStepper
from workers.latency.timing import Timing, timed_once
from workers.models.loading import LoadedModel


def decode_latency(
    loaded: LoadedModel, ids: Tensor, spec: EvalSpec, chunk: int = CHUNK
) -> Generator[Progress, None, dict[str, Any]]:
    """Time the decode of one document; yields progress, returns the latency columns of its row."""
    plan = plan_decode(len(ids), spec)
    if plan is None:
        needed = spec.decode_tokens + spec.warmup_tokens + 1
        return {"latency_note": f"longest document has {len(ids)} tokens, {needed} are needed"}
    yield decoding(plan, spec, repeat=1, timed=0)
    stepper, prefill_ms = _stepper(loaded, ids.to(loaded.device), spec, plan, chunk)
    reset_peak_memory(loaded.device)
    first_token_ms = timed_once(stepper.step, loaded.device)
    record = _record(stepper, loaded, spec.budget, plan)
    decode = Decode(
        stepper=record or stepper,
        plan=plan,
        spec=spec,
        device=loaded.device,
        host_bound=record is None or loaded.device.type == "cpu",
    )
    repeats = yield from decode.undisturbed()
    budget = spec.budget
    return {
        "prefill_ms": prefill_ms,
        "first_token_ms": first_token_ms,
        "peak_memory_bytes": peak_memory_bytes(loaded.device),
        "latency_recorded": record is not None,
        "latency_full_budget": None if budget is None else plan.first + plan.warmup >= budget,
        **repeats.columns(),
        **summary([repeat.timing for repeat in repeats.kept], plan.timed),
    }


def summary(timings: list[Timing], n_steps: int) -> dict[str, float]:
    """Return step latencies over all repeats, and the run time's median, minimum and maximum."""
    steps = np.concatenate([timing.steps_ms for timing in timings])
    totals = [timing.total_ms for timing in timings]
    runtime_ms = float(np.median(totals))
    return {
        "latency_ms_mean": float(steps.mean()),
        "latency_ms_p50": float(np.percentile(steps, 50)),
        "latency_ms_p90": float(np.percentile(steps, 90)),
        "latency_ms_p99": float(np.percentile(steps, 99)),
        "runtime_ms": runtime_ms,
        "runtime_ms_min": min(totals),
        "runtime_ms_max": max(totals),
        "tokens_per_second": n_steps / runtime_ms * 1e3,
    }


def _record(
    stepper: Stepper, loaded: LoadedModel, budget: int | None, plan: DecodePlan
) -> Stepper | None:
    """Return the stepper's record if every method at this budget can have one, else None.

    A window that still grows is other work in every step, and a family on its own attention has a
    cache that does: there no method is recorded, so that none is favoured.
    """
    fixed = loaded.rotary is not None and (budget is None or plan.first >= budget)
    if not (fixed and isinstance(stepper, Recordable)):
        return None
    return recorded(stepper, loaded.device, plan.warmup + plan.timed)


def _stepper(
    loaded: LoadedModel, ids: Tensor, spec: EvalSpec, plan: DecodePlan, chunk: int
) -> tuple[Stepper, float | None]:
    """Return the method's stepper and how long the state before it took (null: none needed)."""
    if spec.method == "recompute":
        assert spec.budget is not None
        return WindowStepper(loaded, ids, plan.span, spec.budget), None
    ready: list[Stepper] = []
    prefill = _native_prefill if loaded.rotary is None else _ring_prefill
    prefill_ms = timed_once(
        lambda: ready.append(prefill(loaded, ids, spec, plan.span, chunk)), loaded.device
    )
    return ready[0], prefill_ms if plan.first else None


def _ring_prefill(
    loaded: LoadedModel, ids: Tensor, spec: EvalSpec, span: range, chunk: int
) -> Stepper:
    visibility, rotary = visibility_of(spec), loaded.rotary
    assert rotary is not None
    state = state_before(loaded.model, rotary, ids[: span.start], visibility, chunk)
    ring = RingPass(rotary, visibility, state, span, loaded.device)
    return RingStepper(loaded, ids, span, ring)


def _native_prefill(
    loaded: LoadedModel, ids: Tensor, spec: EvalSpec, span: range, _chunk: int
) -> Stepper:
    decoder = NativeDecoder(loaded.model, visibility_of(spec), loaded.device)
    for query in range(span.start):
        decoder.step(ids[query : query + 1])
    return NativeStepper(decoder, ids, span)
