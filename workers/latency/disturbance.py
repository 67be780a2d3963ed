"""What else ran while steps were timed, so that a time says itself whether it can be believed.

CPU: a step is held up by the time in which one of our threads was ready but had no core (Linux
counts it to the nanosecond, per thread), and slowed by what others compute on the same cores,
which share caches, memory and often the core itself. GPU: other processes on the device, and a
device that lowers its clock. A part that this machine cannot tell is left out, never guessed.
"""

import os
import resource
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from workers.device import GpuState, gpu_state

WAITED_LIMIT = 0.05
"""Share of the time in which a thread of ours may wait for a core."""
OTHERS_LIMIT = 0.15
"""Share of the cores that everybody else may take: caches and memory are shared."""
GPU_OTHERS_LIMIT = 0.02
"""Share of the device's time that other processes may take."""
CLOCK_LIMIT = 0.10
"""Share by which the GPU's clock may fall while the steps run."""
TICK_S = 0.01
"""Resolution in which Linux counts the busy time of a core; one per core is not held against us."""
_THREADS = Path("/proc/self/task")


@dataclass(frozen=True)
class Disturbance:
    """What was taken from the timed steps."""

    noise: float | None = None
    """The largest share, 0 to 1, that others took or that we waited; None: nothing is known."""
    reasons: tuple[str, ...] = ()
    """What is beyond its limit, in words; empty: nothing is."""

    def __or__(self, other: "Disturbance") -> "Disturbance":
        """Return both together."""
        known = [noise for noise in (self.noise, other.noise) if noise is not None]
        return Disturbance(max(known, default=None), self.reasons + other.reasons)


@dataclass(frozen=True, kw_only=True)
class CpuUse:
    """Counters of this process and of the cores that it may use, at one moment."""

    wall_s: float
    own_s: float
    """Processor time of this process."""
    timed_s: float
    """Processor time of the thread that runs the steps."""
    busy_s: float | None
    """Time in which the cores computed for anybody, stolen time included."""
    waited_s: Mapping[int, float] = field(default_factory=dict)
    """Per thread: ready to run, and without a core; empty where the kernel does not tell."""
    preemptions: int = 0
    """Involuntary context switches of this process."""


def cpu_use(cores: frozenset[int]) -> CpuUse:
    """Read the counters now."""
    wall_s, own_s, timed_s = time.perf_counter(), time.process_time(), time.thread_time()
    busy_s = _busy_seconds(cores)
    waited_s: dict[int, float] = {}
    for thread in _THREADS.iterdir() if _THREADS.is_dir() else ():
        try:
            waited_s[int(thread.name)] = int((thread / "schedstat").read_text().split()[1]) / 1e9
        except (OSError, IndexError, ValueError):  # it has just ended, or a kernel without it
            continue
    return CpuUse(
        wall_s=wall_s,
        own_s=own_s,
        timed_s=timed_s,
        busy_s=busy_s,
        waited_s=waited_s,
        preemptions=resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw,
    )


def cpu_disturbance(before: CpuUse, after: CpuUse, *, n_cores: int, n_threads: int) -> Disturbance:
    """Return what was taken between two readings.

    n_threads: that compute the steps. More of them than cores wait for each other, which is the
    setting that was asked for; there the cores' time alone says what others took.
    """
    wall_s = after.wall_s - before.wall_s
    found = Disturbance()
    waited_s = _longest_wait(before, after, n_threads)
    if waited_s is not None and n_threads <= n_cores:
        share = min(1.0, waited_s / wall_s)
        times = after.preemptions - before.preemptions
        said = f"waited for a core {share:.0%} of the time (preempted {times} times)"
        found |= Disturbance(share, (said,) if share > WAITED_LIMIT else ())
    if before.busy_s is not None and after.busy_s is not None:
        own_s = after.own_s - before.own_s
        others_s = after.busy_s - before.busy_s - own_s - n_cores * TICK_S
        share = min(1.0, max(0.0, others_s / (n_cores * wall_s)))
        cores = "core" if n_cores == 1 else f"{n_cores} cores"
        said = f"others took {share:.0%} of the {cores}"
        found |= Disturbance(share, (said,) if share > OTHERS_LIMIT else ())
    return found


def gpu_disturbance(before: GpuState, after: GpuState) -> Disturbance:
    """Return what was taken between two states of a GPU."""
    found = Disturbance()
    if after.others_share is not None:
        said = f"other processes took {after.others_share:.0%} of the GPU"
        beyond = after.others_share > GPU_OTHERS_LIMIT
        found |= Disturbance(after.others_share, (said,) if beyond else ())
    if before.clock_mhz and after.clock_mhz:
        lost = max(0.0, 1 - after.clock_mhz / before.clock_mhz)
        said = f"the GPU's clock fell from {before.clock_mhz} to {after.clock_mhz} MHz"
        found |= Disturbance(lost, (said,) if lost > CLOCK_LIMIT else ())
    slowed = sorted({*before.slowed_by, *after.slowed_by})
    return found | Disturbance(None, tuple(f"the GPU was slowed down: {why}" for why in slowed))


class Watch:
    """Reads the counters when it is made and when it is asked.

    host_bound: the host runs every step, so that a step waits if the host does; False for the
    replays of a CUDA graph, which the host hands over far ahead of the device.
    """

    def __init__(self, device: torch.device, *, host_bound: bool) -> None:
        self._device, self._host_bound = device, host_bound
        self._cores = usable_cores()
        self._gpu = gpu_state(device, since=None)
        self._cpu = cpu_use(self._cores)

    def disturbance(self) -> Disturbance:
        """Return what others took since this watch was made."""
        now = cpu_use(self._cores)
        if self._device.type == "cpu":
            n_threads, n_cores = torch.get_num_threads(), len(self._cores)
            return cpu_disturbance(self._cpu, now, n_cores=n_cores, n_threads=n_threads)
        found = Disturbance()
        if self._gpu is not None:
            after = gpu_state(self._device, since=self._gpu)
            found |= gpu_disturbance(self._gpu, after) if after else Disturbance()
        if self._host_bound:
            # One thread hands over the kernels; who else computes on the cores is no matter.
            host = CpuUse(**{**vars(now), "busy_s": None})
            found |= cpu_disturbance(self._cpu, host, n_cores=len(self._cores), n_threads=1)
        return found


def usable_cores() -> frozenset[int]:
    """Return the numbers of the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def _longest_wait(before: CpuUse, after: CpuUse, n_threads: int) -> float | None:
    """Return the longest wait of a thread: whichever computes, the step ends with the last."""
    if after.waited_s:
        if n_threads == 1:
            timed = threading.get_native_id()
            return after.waited_s.get(timed, 0.0) - before.waited_s.get(timed, 0.0)
        return max(
            waited - before.waited_s.get(thread, 0.0) for thread, waited in after.waited_s.items()
        )
    if n_threads > 1:  # a thread may have waited for the others
        return None
    return (after.wall_s - before.wall_s) - (after.timed_s - before.timed_s)


def _busy_seconds(cores: frozenset[int]) -> float | None:
    try:
        import psutil  # evaluation works without it: a GPU machine may have little more than torch
    except ImportError:
        return None
    times = psutil.cpu_times(percpu=True)
    if len(times) <= max(cores):
        return None
    idle = ("idle", "iowait", "guest", "guest_nice")  # a guest's time is in the user's as well
    return sum(
        sum(getattr(times[core], name) for name in times[core]._fields if name not in idle)
        for core in cores
    )
