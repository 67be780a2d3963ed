"""Record a decode step once and replay it, so that a small model is not timed in Python.

On CUDA the record is a CUDA graph: all kernels of a step in one launch. On a CPU it is a trace,
which torch's interpreter runs without the Python of the model's layers. Both work on the memory
that the step was recorded with, which is why a step reads what changes from tensors.

A record is believed only if it repeats the step's own logits; where none can be made (a model
that looks at values, say), the step runs as it is, and the row says so.
"""

import math
import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from workers.latency.steppers import Recordable

CHECKED_STEPS = 8
"""Steps whose logits a record must repeat, or …"""
CHECK_SECONDS = 1.0
"""… as many as the step takes so long for, two at least: a long one is a large part of the time."""
WARM_STEPS = 3
"""Steps before a CUDA capture, in which libraries allocate their workspaces."""
TOLERANCE = 1e-3
"""Largest difference of a logit between the step and its record, relative to the largest one."""

Replay = Callable[[], Tensor]


class RecordedStepper:
    """A stepper that replays its record; `step` allocates nothing and runs no model code."""

    def __init__(self, source: Recordable, replay: Replay) -> None:
        self._source, self._replay = source, replay
        self.logits: Tensor | None = None
        """Of the last query, [vocab]; on CUDA overwritten by the next step."""

    @torch.inference_mode()
    def step(self) -> None:
        """Replay the step on the next query."""
        self.logits = self._replay()

    def reset(self) -> None:
        """Go back to the first query of the span."""
        self._source.reset()


def recorded(stepper: Recordable, device: torch.device, n_steps: int) -> RecordedStepper | None:
    """Return a replaying stepper at its first query, or None if the step cannot be recorded.

    n_steps: how many queries the stepper has. Running out of memory is raised, as in any step.
    """
    expected = _logits(stepper, stepper.forward, min(CHECKED_STEPS, n_steps), CHECK_SECONDS)
    try:
        stepper.reset()
        replay = _cuda_graph(stepper, device) if device.type == "cuda" else _trace(stepper)
        actual = _logits(stepper, replay, len(expected))
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, TypeError, ValueError):  # the step ran: it is the recording that failed
        return None
    finally:
        stepper.reset()
    scale = expected.abs().amax().clamp(min=1.0)
    agree = bool(((actual - expected).abs().amax() <= TOLERANCE * scale).item())
    return RecordedStepper(stepper, replay) if agree else None


@torch.inference_mode()
def _logits(stepper: Recordable, step: Replay, n_steps: int, seconds: float = math.inf) -> Tensor:
    """Return the logits of the first steps, [n, vocab]: n_steps, or two and what time allows."""
    stepper.reset()
    began, found = time.perf_counter(), [step().clone()]
    while len(found) < n_steps and (len(found) < 2 or time.perf_counter() - began < seconds):
        found.append(step().clone())
    return torch.stack(found)


def _cuda_graph(stepper: Recordable, device: torch.device) -> Replay:
    """Capture as torch's notes on CUDA graphs tell: warm up on a side stream, then capture."""
    with torch.cuda.device(device), torch.inference_mode():
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_STEPS):
                stepper.reset()
                stepper.forward()
        torch.cuda.current_stream().wait_stream(side)
        stepper.reset()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            logits = stepper.forward()

    def replay() -> Tensor:
        graph.replay()
        return logits

    return replay


def _trace(stepper: Recordable) -> Replay:
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # shapes become constants, which is what we want
        traced = torch.jit.trace(_Step(stepper), (), check_trace=False)  # type: ignore[no-untyped-call]
    replay: Replay = traced
    return replay


class _Step(nn.Module):
    """One step as a module: a trace copies tensors it writes into, unless they are buffers."""

    def __init__(self, stepper: Recordable) -> None:
        super().__init__()
        self.model = stepper.model
        self._forward = stepper.forward
        for number, tensor in enumerate(stepper.changed()):
            self.register_buffer(f"changed_{number}", tensor)

    def forward(self) -> Tensor:
        """Return the logits of the next query, [vocab]."""
        return self._forward()
