"""How the tests share a machine: two lanes, one thread each for torch."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models gain nothing from two, and lose

TESTS = Path(__file__).parent
ONE_AT_A_TIME = tuple(
    TESTS / place
    for place in (
        *("orchestrator/executors", "orchestrator/cluster", "orchestrator/driver"),
        *("orchestrator/test_launch.py", "orchestrator/test_cli_cluster.py"),
    )
)
"""They start Ray, machines or drivers and wait for them: two at once would wait for each other."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep a file's tests in one process (`-n 2 --dist loadgroup`), for what they share."""
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        waits = any(item.path.is_relative_to(place) for place in ONE_AT_A_TIME)
        item.add_marker(pytest.mark.xdist_group("one at a time" if waits else str(item.path)))
