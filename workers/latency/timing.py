"""Clocks and memory: how long each step took on this device, measured without disturbing it.

CUDA: an event before and after every step and one synchronisation at the end, so that the host
never waits inside the timed region. CPU: `perf_counter` around every step.
"""

import gc
import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from workers.device import synchronise

Step = Callable[[], None]


@dataclass(frozen=True)
class Timing:
    """Milliseconds of each step, and of all of them from first start to last end."""

    steps_ms: list[float]
    total_ms: float


def timed_steps(step: Step, n_steps: int, device: torch.device) -> Timing:
    """Run a step `n_steps` times and time each."""
    with _no_collection():
        if device.type != "cuda":
            marks = [time.perf_counter()]
            for _ in range(n_steps):
                step()
                marks.append(time.perf_counter())
            steps = [(after - before) * 1e3 for before, after in itertools.pairwise(marks)]
            return Timing(steps, (marks[-1] - marks[0]) * 1e3)
        events = [torch.cuda.Event(enable_timing=True) for _ in range(n_steps + 1)]  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
        events[0].record()
        for event in events[1:]:
            step()
            event.record()
        torch.cuda.synchronize()
        steps = [before.elapsed_time(after) for before, after in itertools.pairwise(events)]
        return Timing(steps, events[0].elapsed_time(events[-1]))


def join_timings(pieces: Sequence[Timing]) -> Timing:
    """Return pieces that were timed one after another as one timing."""
    steps = [step for piece in pieces for step in piece.steps_ms]
    return Timing(steps, math.fsum(piece.total_ms for piece in pieces))


def timed_once(work: Step, device: torch.device) -> float:
    """Return the milliseconds of one piece of work, the device idle before and after."""
    synchronise(device)
    start = time.perf_counter()
    work()
    synchronise(device)
    return (time.perf_counter() - start) * 1e3


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep Python's garbage collector out of the timed region."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
