"""What becomes of a sweep whose store fails under it: always a loud stop, never a missing row."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.store.store import Store
from tests.support.sweep_process import Driver
from tests.support.sweeps import ok_run_ids, run_ids, sweep_of

pytestmark = pytest.mark.slow
COUNT = 4000


@contextlib.contextmanager
def tiny_disk(folder: Path) -> Iterator[Path]:
    """Mount a file system of 400 KiB, where one may."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def finish(root: Path, stored: int) -> None:
    """Run the sweep to its end, on a store that works again."""
    summary = Driver(root, COUNT).wait()
    assert summary["done_before"] == stored
    assert ok_run_ids(Store(root)) == run_ids(sweep_of(COUNT))


def test_a_full_disk_stops_the_sweep_and_a_relaunch_with_space_finishes_it(tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk") as disk:
        error = Driver(disk / "store", COUNT, seconds=0.001).fails()
        assert "No space left on device" in error
        assert "launch again" in error
        stored = len(ok_run_ids(Store(disk / "store")))
        assert 0 < stored < COUNT
        shutil.copytree(disk / "store", tmp_path / "roomy")
    finish(tmp_path / "roomy", stored)


def test_a_store_that_is_removed_stops_the_sweep(tmp_path: Path) -> None:
    driver = Driver(tmp_path / "store", 500, seconds=0.05)
    driver.until_rows(3)
    shutil.rmtree(tmp_path / "store")
    assert "was removed while in use" in driver.fails()


def test_a_store_that_becomes_read_only_stops_the_sweep_and_keeps_what_it_has(
    tmp_path: Path,
) -> None:
    with read_only_switch(tmp_path / "disk") as (disk, lock, unlock):
        driver = Driver(disk / "store", 500, seconds=0.05)
        driver.until_rows(3)
        lock()
        assert "cannot be written" in driver.fails()
        stored = ok_run_ids(Store(disk / "store"))
        assert len(stored) >= 3
        unlock()
        summary = Driver(disk / "store", 500).wait()
        assert summary["done_before"] == len(stored)


@contextlib.contextmanager
def read_only_switch(folder: Path) -> Iterator[tuple]:  # type: ignore[type-arg]
    """Mount a file system that can be made read-only; root ignores permissions."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a file system")

    def remount(how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True)

    try:
        yield folder, lambda: remount("ro"), lambda: remount("rw")
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
