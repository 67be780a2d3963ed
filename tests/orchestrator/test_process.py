"""A process ends with its exit code while torch still computes in one of its threads."""

import os
import subprocess
import sys

from tests.support.sweep_process import ROOT

PROGRAM = """
import threading, time
import torch
from orchestrator.process import EVALUATOR_THREAD, leave

def compute():
    started.set()
    factor = torch.ones(16, 16)
    while True:
        torch.mm(factor, factor)

started = threading.Event()
if {computing}:
    threading.Thread(target=compute, name=EVALUATOR_THREAD, daemon=True).start()
    started.wait()
    time.sleep(0.2)
print("told before the end")
leave(130)
"""


def _ending_of(*, computing: bool) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(computing=computing)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )


def test_the_exit_code_holds_while_an_evaluation_computes() -> None:
    for _ in range(3):  # without the hard end about every second process is aborted
        ending = _ending_of(computing=True)
        assert (ending.returncode, ending.stderr) == (130, "")
        assert ending.stdout == "told before the end\n"


def test_without_an_evaluation_the_process_ends_as_any_other() -> None:
    ending = _ending_of(computing=False)
    assert (ending.returncode, ending.stdout) == (130, "told before the end\n")
