"""How the tests share a machine: most side by side, some alone, one thread each for torch."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models gain nothing from two, and lose

TESTS = Path(__file__).parent
ALONE = tuple(
    TESTS / place
    for place in (
        *("orchestrator/executors", "orchestrator/cluster", "orchestrator/driver"),
        *("orchestrator/store/test_faults.py", "orchestrator/test_launch.py"),
        *("orchestrator/test_cli.py", "orchestrator/test_process.py"),
        "workers/latency/test_disturbance.py",
    )
)
"""They start Ray, machines or drivers and wait for them, or measure who else is running."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what runs alone: `make test` runs `-m "not alone"` side by side, then `-m alone`."""
    for item in items:
        if any(item.path.is_relative_to(place) for place in ALONE):
            item.add_marker(pytest.mark.alone)
