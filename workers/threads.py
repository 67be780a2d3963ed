"""How the threads of a CPU evaluation wait for each other.

GNU OpenMP lets them spin for milliseconds at the end of every parallel region. Where anything else
wants the cores, and Ray's own processes do, a thread that should work waits for one that spins: on
two busy cores an evaluation took four times as long. So they spin shortly and then sleep. A user's
own setting is left alone.
"""

import os

SPINS = "1000"
"""Rounds of spinning before a thread sleeps."""
VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


def wait_politely() -> None:
    """Set the waiting of threads; has an effect only before torch is imported."""
    if not any(name in os.environ for name in VARIABLES):
        os.environ["GOMP_SPINCOUNT"] = SPINS
