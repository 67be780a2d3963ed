"""What the guardian takes for a process of its cluster, besides marks that Ray may overwrite."""

import subprocess
import time
from pathlib import Path

from orchestrator.cluster.guardian import titled


def holding(title: str, file: Path) -> subprocess.Popen[bytes]:
    """Start a process with that title, without a mark, that keeps a file open."""
    process = subprocess.Popen(["bash", "-c", f"exec -a {title} sleep 60 3>{file}"])
    end = time.monotonic() + 10
    while not Path(f"/proc/{process.pid}/cmdline").read_bytes().startswith(title.encode()):
        assert time.monotonic() < end
        time.sleep(0.01)
    return process


def test_an_agent_without_a_mark_is_known_by_the_folder_that_it_writes_to(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own-not").mkdir()
    started = [
        holding("ray::DashboardAgent", tmp_path / "own" / "log"),
        holding("ray::DashboardAgent", tmp_path / "own-not" / "log"),
        holding("tail", tmp_path / "own" / "looked-at"),
    ]
    try:
        assert titled(str(tmp_path / "own")) == [started[0].pid]
    finally:
        for process in started:
            process.kill()
            process.wait()
