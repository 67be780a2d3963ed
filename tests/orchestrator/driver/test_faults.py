"""What becomes of a sweep whose driver is killed, interrupted, or not alone."""

import random
import signal
import time
from pathlib import Path

import pytest

from orchestrator.store.store import Store
from tests.support.sweep_process import Driver
from tests.support.sweeps import ok_run_ids, run_ids, spec, sweep_of

pytestmark = pytest.mark.slow
COUNT = 600
"""So many that a driver is never through with them when it is killed."""


def test_a_driver_killed_at_random_moments_loses_and_doubles_nothing(tmp_path: Path) -> None:
    chance = random.Random(4)
    committed = 0
    for _ in range(6):
        driver = Driver(tmp_path, COUNT, seconds=0.01)
        driver.until_rows(committed + chance.randrange(1, 25))
        time.sleep(chance.random() * 0.3)
        driver.kill()
        rows = Store(tmp_path).trials(["run_id"]).num_rows
        assert rows >= committed
        committed = rows
    summary = Driver(tmp_path, COUNT).wait()
    assert summary["done_before"] == committed
    assert ok_run_ids(Store(tmp_path)) == run_ids(sweep_of(COUNT))
    assert Store(tmp_path).trials().num_rows == COUNT


def test_after_a_killed_driver_nothing_of_its_local_cluster_is_left_and_a_relaunch_finishes(
    tmp_path: Path,
) -> None:
    driver = Driver(tmp_path, 60, on_ray=True, seconds=0.1)
    driver.until_rows(5)
    assert len(driver.left_behind()) > 3
    driver.kill()
    assert driver.gone_within(60), driver.describe_left_behind()
    again = Driver(tmp_path, 60, on_ray=True)
    summary = again.wait()
    assert 5 <= summary["done_before"] < 60
    assert ok_run_ids(Store(tmp_path)) == run_ids(sweep_of(60))
    assert again.gone_within(60), again.describe_left_behind()


def test_an_interrupt_ends_a_sweep_on_ray_cleanly_with_everything_finished_stored(
    tmp_path: Path,
) -> None:
    driver = Driver(tmp_path, 500, on_ray=True, seconds=0.1)
    driver.until_rows(5)
    driver.process.send_signal(signal.SIGINT)
    summary = driver.wait(timeout=30)
    assert summary["interrupted"]
    assert summary["ok"] == len(ok_run_ids(Store(tmp_path)))
    assert driver.gone_within(60), driver.describe_left_behind()


def test_two_drivers_share_a_sweep(tmp_path: Path) -> None:
    first = Driver(tmp_path, 150, seconds=0.1)
    first.until_rows(1)
    second = Driver(tmp_path, 150, seconds=0.1)
    shares = [first.wait()["ok"], second.wait()["ok"]]
    assert ok_run_ids(Store(tmp_path)) == run_ids(sweep_of(150))
    assert min(shares) > 20
    assert Store(tmp_path).trials().num_rows == sum(shares) <= 150 * 1.05


def test_a_driver_takes_over_what_a_killed_one_had_under_way(tmp_path: Path) -> None:
    victim = Driver(tmp_path, 4, script={"1": ["hang"]})
    victim.until_rows(1)
    heir = Driver(tmp_path, 4)
    heir.until_rows(3)
    victim.kill()
    summary = heir.wait()
    assert (summary["failed"], summary["not_run"]) == (0, 0)
    assert ok_run_ids(Store(tmp_path)) == run_ids(sweep_of(4))


def test_a_driver_takes_over_with_the_parts_that_a_killed_one_had_finished(
    tmp_path: Path,
) -> None:
    victim = Driver(tmp_path, 2, spans=400, seconds=60)
    end = time.monotonic() + 60
    while not Store(tmp_path).spans([spec(0).run_id]) and time.monotonic() < end:
        time.sleep(0.2)
    heir = Driver(tmp_path, 2, spans=2, seconds=0.1)
    time.sleep(3)
    victim.kill()
    heir.wait()
    rows = Store(tmp_path).results(["n_documents"]).to_pylist()
    assert max(row["n_documents"] for row in rows) > 0
    assert ok_run_ids(Store(tmp_path)) == run_ids(sweep_of(2))
