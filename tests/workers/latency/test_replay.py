"""A recorded step is the step: the same logits, from any reset, for every method."""

import pytest
import torch

from tests.support.latency import latency_columns
from tests.support.models import random_ids, tiny
from workers.attention.chunked import state_before
from workers.attention.ring import RingPass
from workers.attention.visibility import DENSE, Visibility
from workers.contract.spec import EvalSpec
from workers.latency.replay import RecordedStepper, recorded
from workers.latency.steppers import RingStepper, Stepper, WindowStepper
from workers.models.loading import LoadedModel, load_model

IDS = random_ids(130)
STREAMING = Visibility(2, 30)


def _ring(loaded: LoadedModel, visibility: Visibility, span: range) -> RingStepper:
    assert loaded.rotary is not None
    state = state_before(loaded.model, loaded.rotary, IDS[: span.start], visibility)
    ring = RingPass(loaded.rotary, visibility, state, span, loaded.device)
    return RingStepper(loaded, IDS, span, ring)


def _logits(stepper: Stepper, n_steps: int) -> torch.Tensor:
    stepper.reset()
    rows = []
    for _ in range(n_steps):
        stepper.step()
        rows.append(stepper.logits.clone())  # type: ignore[attr-defined]
    return torch.stack(rows)


@pytest.mark.parametrize("start", [1, 20, 100])
@pytest.mark.parametrize("visibility", [STREAMING, Visibility(0, 16), DENSE], ids=str)
@pytest.mark.parametrize("name", ["gpt_neox", "gemma2"])
def test_a_recorded_ring_step_equals_the_step_bit_by_bit(name, visibility, start):
    """Also while the ring still fills (start 1 and 20)."""
    loaded, span = tiny(name), range(start, 129)
    record = recorded(_ring(loaded, visibility, span), loaded.device, len(span))
    assert record is not None
    expected = _logits(_ring(loaded, visibility, span), len(span))
    assert torch.equal(_logits(record, len(span)), expected)
    assert torch.equal(_logits(record, len(span)), expected)


def test_a_recorded_window_step_equals_the_step_bit_by_bit():
    loaded, span = tiny("llama"), range(40, 129)
    record = recorded(WindowStepper(loaded, IDS, span, 32), loaded.device, len(span))
    assert record is not None
    expected = _logits(WindowStepper(loaded, IDS, span, 32), len(span))
    assert torch.equal(_logits(record, len(span)), expected)


class _Drifting(RingStepper):
    """A step that a record cannot repeat: it looks at a value and goes another way."""

    def forward(self) -> torch.Tensor:
        logits = super().forward()
        return -logits if int(self._ring.step) > 3 else logits


class _Reading(RingStepper):
    """A step that fails when it is recorded."""

    def forward(self) -> torch.Tensor:
        if torch.jit.is_tracing():
            raise RuntimeError("cannot be traced")
        return super().forward()


@pytest.mark.parametrize("kind", [_Drifting, _Reading])
def test_a_step_that_cannot_be_recorded_is_not(kind):
    loaded, span = tiny("gpt_neox"), range(40, 129)
    sound = _ring(loaded, STREAMING, span)
    stepper = kind(loaded, IDS, span, sound._ring)
    expected = _logits(stepper, 20)
    assert recorded(stepper, loaded.device, len(span)) is None
    assert torch.equal(_logits(stepper, 20), expected)


def test_running_out_of_memory_while_recording_is_raised():
    class Full(RingStepper):
        def forward(self) -> torch.Tensor:
            if torch.jit.is_tracing():
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().forward()

    loaded, span = tiny("gpt_neox"), range(40, 129)
    stepper = Full(loaded, IDS, span, _ring(loaded, STREAMING, span)._ring)
    with pytest.raises(torch.OutOfMemoryError):
        recorded(stepper, loaded.device, len(span))


def _spec(method: str, window_size: int = 30) -> EvalSpec:
    timing = {"decode_tokens": 20, "warmup_tokens": 4, "repeats": 2}
    return EvalSpec(
        model="demo",
        dataset="pydoc",
        method=method,
        n_sink=2,
        window_size=window_size,
        **timing,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("method", ["dense", "streaming", "recompute"])
def test_every_method_is_timed_on_its_record(method):
    assert latency_columns(tiny("llama"), IDS, _spec(method))["latency_recorded"] is True


@pytest.mark.parametrize("method", ["streaming", "recompute"])
def test_no_method_is_recorded_where_a_window_still_grows(method):
    row = latency_columns(tiny("llama"), IDS, _spec(method, window_size=120))
    assert row["latency_recorded"] is False


@pytest.mark.parametrize("method", ["streaming", "recompute"])
def test_no_method_is_recorded_for_a_family_on_its_own_attention(method):
    row = latency_columns(tiny("bloom"), IDS, _spec(method))
    assert row["latency_recorded"] is False


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_cuda_graph_repeats_the_step(dtype):
    device = torch.device("cuda")
    spec = EvalSpec(model="demo", dataset="pydoc", method="streaming", dtype=dtype)
    loaded = load_model(spec, device)
    ids, span = IDS.to(device), range(100, 129)
    state = state_before(loaded.model, loaded.rotary, ids[: span.start], STREAMING)
    for stepper in (
        RingStepper(loaded, ids, span, RingPass(loaded.rotary, STREAMING, state, span, device)),
        WindowStepper(loaded, ids, span, STREAMING.budget),
    ):
        expected = _logits(stepper, len(span))
        record = recorded(stepper, device, len(span))
        assert isinstance(record, RecordedStepper)
        torch.testing.assert_close(_logits(record, len(span)), expected, rtol=0, atol=1e-2)
