"""How the tests share a machine: in three groups, the longest files first, one thread for torch."""

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

The others compute, at a lower priority beside those that wait.
"""
FIRST = (
    "orchestrator/cluster/test_ray_up.py",
    "orchestrator/executors/test_losses.py",
    "orchestrator/executors/test_nothing_runs.py",
    "workers/quality/test_nll.py",
    "workers/models/test_families.py",
    "workers/models/test_demo_model.py",
    "test_surroundings.py",
    "test_examples.py",
    "analysis/figures/test_widths.py",
    "analysis/test_api.py",
    "workers/latency/test_measure.py",
)
"""What takes minutes must not be what the other processes wait for at the end."""


def in_group(path: Path, group: str) -> bool:
    """Tell whether the tests of a file belong to a group."""
    return any(path.is_relative_to(TESTS / place) for place in GROUPS[group])


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out the files of other groups: what they import takes every process seconds."""
    wanted = config.getoption("markexpr")
    if not collection_path.name.startswith("test_"):
        return None
    if wanted in GROUPS:
        return None if in_group(collection_path, wanted) else True
    others = " and ".join(f"not {group}" for group in GROUPS)
    is_left_out = wanted == others and any(in_group(collection_path, group) for group in GROUPS)
    return True if is_left_out else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the groups that `make test` runs, and let the longest files begin."""
    for item in items:
        for group in GROUPS:
            if in_group(item.path, group):
                item.add_marker(getattr(pytest.mark, group))
    places = {TESTS / name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(item.path, len(FIRST)))
