"""How the tests share a machine: in three groups, with one thread each for torch."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models gain nothing from two, and lose

TESTS = Path(__file__).parent
GROUPS = {
    "alone": ("workers/latency/test_disturbance.py",),
    "waiting": (
        *("orchestrator/executors", "orchestrator/cluster", "orchestrator/driver"),
        *("orchestrator/store/test_faults.py", "orchestrator/test_launch.py"),
        *("orchestrator/test_cli.py", "orchestrator/test_process.py"),
    ),
}
"""What measures who else is running; what starts Ray, machines or drivers and waits for them.

The others compute. Beside those, what waits would wait too long.
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the groups, each of which `make test` runs by itself."""
    for item in items:
        for group, places in GROUPS.items():
            if any(item.path.is_relative_to(TESTS / place) for place in places):
                item.add_marker(getattr(pytest.mark, group))
