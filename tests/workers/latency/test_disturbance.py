"""A disturbed timing is recognised, repeated, and says so; a quiet one is believed."""

import json
import os
import subprocess
import sys

import pytest

from tests.support.models import random_ids, tiny
from workers.contract.spec import EvalSpec
from workers.device import GpuState
from workers.latency.disturbance import (
    CpuUse,
    Disturbance,
    cpu_disturbance,
    gpu_disturbance,
)
from workers.latency.repeats import Decode, plan_decode
from workers.latency.steppers import WindowStepper

ZERO = CpuUse(wall_s=0, own_s=0, timed_s=0, busy_s=0, waited_s={1: 0.0, 2: 0.0})
QUIET = CpuUse(wall_s=1, own_s=1.9, timed_s=1, busy_s=1.95, waited_s={1: 0.004, 2: 0.01})


def spec(**changes):
    fields = {"decode_tokens": 40, "warmup_tokens": 4, "repeats": 2, "n_sink": 2, "window_size": 30}
    return EvalSpec(model="demo", dataset="pydoc", method="recompute", **{**fields, **changes})


def test_readings_of_a_quiet_machine_are_believed():
    found = cpu_disturbance(ZERO, QUIET, n_cores=2, n_threads=2)
    assert found.reasons == ()
    assert found.noise == pytest.approx(0.015)


def test_a_thread_that_waited_for_a_core_is_a_reason():
    waited = CpuUse(**{**vars(QUIET), "waited_s": {1: 0.0, 2: 0.4}, "preemptions": 31})
    found = cpu_disturbance(ZERO, waited, n_cores=2, n_threads=2)
    assert found.noise == pytest.approx(0.4)
    assert found.reasons == ("waited for a core 40% of the time (preempted 31 times)",)


def test_others_on_cores_that_the_steps_leave_free_are_a_reason_too():
    one_thread = CpuUse(wall_s=1, own_s=1, timed_s=1, busy_s=2.0, waited_s={1: 0.0})
    found = cpu_disturbance(ZERO, one_thread, n_cores=2, n_threads=2)
    assert found.reasons == ("others took 49% of the 2 cores",)


def test_threads_that_outnumber_the_cores_wait_for_each_other_and_not_for_others():
    crowded = CpuUse(wall_s=1, own_s=1, timed_s=0.5, busy_s=1.0, waited_s={1: 0.5, 2: 0.5})
    assert cpu_disturbance(ZERO, crowded, n_cores=1, n_threads=2).reasons == ()


def test_a_timing_shorter_than_the_clock_of_the_cores_is_not_accused_by_its_rounding():
    short = CpuUse(wall_s=0.02, own_s=0.02, timed_s=0.02, busy_s=0.04, waited_s={1: 0.0})
    assert cpu_disturbance(ZERO, short, n_cores=2, n_threads=2).reasons == ()


def test_where_the_kernel_tells_nothing_nothing_is_claimed():
    blank = CpuUse(wall_s=1, own_s=1, timed_s=1, busy_s=None)
    assert cpu_disturbance(blank, blank, n_cores=2, n_threads=2) == Disturbance()


@pytest.mark.parametrize(
    ("after", "reason"),
    [
        ({"others_share": 0.3}, "other processes took 30% of the GPU"),
        ({"clock_mhz": 1200}, "the GPU's clock fell from 1980 to 1200 MHz"),
        ({"slowed_by": ("heat (hardware)",)}, "the GPU was slowed down: heat (hardware)"),
        ({"others_share": 0.0, "clock_mhz": 1950}, None),
    ],
)
def test_a_gpu_that_others_use_or_that_slows_down_is_a_reason(after, reason):
    calm = {"read_at_us": 0, "clock_mhz": 1980, "slowed_by": (), "others_share": None}
    found = gpu_disturbance(GpuState(**calm), GpuState(**{**calm, **after}))
    assert found.reasons == (() if reason is None else (reason,))


class Alternating:
    """Watches that find a disturbance in the first repeats."""

    def __init__(self, disturbed):
        self.left = disturbed

    def __call__(self, device, *, host_bound):
        self.left -= 1
        return self

    def disturbance(self):
        return Disturbance(0.5, ("a neighbour",)) if self.left >= 0 else Disturbance(0.01)


def decode_of(spec, n_disturbed, **fields):
    """A decode of which others disturb the first repeats."""
    loaded, ids = tiny("llama"), random_ids(100)
    plan = plan_decode(len(ids), spec)
    stepper = WindowStepper(loaded, ids, plan.span, spec.budget)
    fields |= {"device": loaded.device, "host_bound": True, "watch": Alternating(n_disturbed)}
    return Decode(stepper=stepper, plan=plan, spec=spec, **fields)


def run_to_its_end(decode):
    """What is told on the way, and the repeats."""
    told, running = [], decode.undisturbed()
    while True:
        try:
            told.append(next(running))
        except StopIteration as ended:
            return told, ended.value


@pytest.mark.parametrize(
    ("disturbed", "n_run", "reason"), [(0, 2, None), (3, 5, None), (9, 6, "a neighbour")]
)
def test_a_disturbed_repeat_is_run_again_up_to_three_times_as_often(disturbed, n_run, reason):
    _, repeats = run_to_its_end(decode_of(spec(), disturbed))
    row = repeats.columns()
    assert (row["timing_repeats"], row["timing_disturbed"]) == (n_run, reason)
    assert row["timing_noise"] == (0.5 if reason else 0.01)


def test_long_repeats_are_timed_in_pieces_and_report_between_them():
    told, _ = run_to_its_end(decode_of(spec(decode_tokens=5), 0, segment_ms=1e-6))
    assert [progress.tokens_done for progress in told] == list(range(1, 11))
    assert [progress.repeat for progress in told] == [1] * 5 + [2] * 5


TIMED = """
import json, os, subprocess, sys
import torch
from tests.support.latency import latency_columns
from tests.support.models import random_ids, tiny
from tests.workers.latency.test_disturbance import spec
torch.set_num_threads(1)
loaded, cores = tiny("llama"), os.sched_getaffinity(0)
spin = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])})\\nwhile True: pass"
os.sched_setaffinity(0, {min(cores)})
loops = [subprocess.Popen([sys.executable, "-c", spin, str(core)]) for core in cores]
if sys.argv[1] == "first":
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
try:
    row = latency_columns(loaded, random_ids(400), spec(decode_tokens=200))
finally:
    for loop in loops:
        loop.kill()
print(json.dumps({name: row[name] for name in row if name.startswith("timing")}))
"""


def timed_beside_a_busy_loop_on_every_core(place):
    command = [sys.executable, "-c", TIMED, place]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.skipif(sys.platform != "linux", reason="pins processes to cores")
def test_a_busy_loop_on_every_core_is_recognised():
    row = timed_beside_a_busy_loop_on_every_core("shared")
    assert row["timing_noise"] > 0.2
    assert "waited for a core" in row["timing_disturbed"]
    assert row["timing_repeats"] == 6


def may_run_first():
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    except (AttributeError, OSError):
        return False
    return True


@pytest.mark.skipif(not may_run_first(), reason="needs the right to run before all others")
def test_a_process_that_has_its_core_for_itself_is_believed():
    """The scheduler gives it the core whenever it asks: as quiet as any machine can be made."""
    row = timed_beside_a_busy_loop_on_every_core("first")
    assert row["timing_disturbed"] is None
    assert row["timing_noise"] < 0.05
