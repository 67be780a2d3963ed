from datetime import datetime, timezone
from pathlib import Path

import pytest

from orchestrator.store.remaining import device_matches, find_remaining
from orchestrator.store.store import Store
from orchestrator.sweep import Resources
from tests.support.sweeps import row, spec, sweep_of


def test_done_is_an_ok_row(tmp_path: Path) -> None:
    Store(tmp_path).append_trials([row(1), row(2, status="failed"), row(3)])
    left = find_remaining(sweep_of(5), Store(tmp_path))
    assert (left.todo, left.done, left.skipped) == ((0, 2, 4), (1, 3), ())


def test_an_evaluation_that_failed_and_then_succeeded_is_done(tmp_path: Path) -> None:
    Store(tmp_path).append_trials([row(0, row_id="x", status="failed"), row(0)])
    assert find_remaining(sweep_of(1), Store(tmp_path), skip_failed=True).done == (0,)


def test_failed_ones_can_be_skipped_and_the_number_limited(tmp_path: Path) -> None:
    Store(tmp_path).append_trials([row(1, status="failed")])
    left = find_remaining(sweep_of(5), Store(tmp_path), skip_failed=True, limit=2)
    assert (left.todo, left.skipped) == ((0, 2), (1, 3, 4))


def test_remeasure_means_everything(tmp_path: Path) -> None:
    Store(tmp_path).append_trials([row(0)])
    left = find_remaining(sweep_of(2), Store(tmp_path), remeasure=True)
    assert (left.todo, left.done) == ((0, 1), ())


def test_of_what_is_done_only_the_disturbed_is_measured_again(tmp_path: Path) -> None:
    early, late = (datetime(2026, 11, day, tzinfo=timezone.utc) for day in (1, 2))
    loud = {"timing_disturbed": "others took 60% of the 2 cores"}
    Store(tmp_path).append_trials(
        [
            row(0, finished_at=early),
            row(1, finished_at=early, **loud),
            row(2, row_id="first", finished_at=early, **loud),
            row(2, row_id="again", finished_at=late),
        ]
    )
    left = find_remaining(sweep_of(4), Store(tmp_path), remeasure_disturbed=True)
    assert (left.todo, left.done, left.skipped) == ((1,), (0, 2), (3,))


def test_with_a_pinned_accelerator_latency_counts_only_from_such_a_device(tmp_path: Path) -> None:
    pinned = Resources(gpus=1, accelerator="A100")
    a100, t4 = {"device_name": "NVIDIA A100-SXM4-80GB"}, {"device_name": "Tesla T4"}
    Store(tmp_path).append_trials([row(0, **a100), row(1, **t4)])
    assert find_remaining(sweep_of(3, resources=pinned), Store(tmp_path)).done == (0,)


def test_with_a_pinned_accelerator_quality_counts_from_any_device(tmp_path: Path) -> None:
    pinned = Resources(gpus=1, accelerator="A100")
    quality = sweep_of(2, resources=pinned, measure=("quality",))
    done = row(0) | {"run_id": spec(0, measure=("quality",)).run_id, "device_name": "Tesla T4"}
    Store(tmp_path).append_trials([done])
    assert find_remaining(quality, Store(tmp_path)).done == (0,)


@pytest.mark.parametrize(
    ("device", "accelerator", "matches"),
    [
        ("NVIDIA A100-SXM4-80GB", "A100", True),
        ("NVIDIA A100-SXM4-80GB", "A100-80G", True),
        ("NVIDIA A100-PCIE-40GB", "A100-80G", False),
        ("NVIDIA H100 80GB HBM3", "H100", True),
        ("Tesla T4", "T4", True),
        ("NVIDIA L4", "L40S", False),
        ("NVIDIA L40S", "L4", False),
        (None, "T4", False),
    ],
)
def test_device_names_are_matched_with_the_accelerator_types_of_ray(
    device: str | None, accelerator: str, matches: bool
) -> None:
    assert device_matches(device, accelerator) is matches
