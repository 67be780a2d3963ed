"""A driver in a process of its own, for tests that kill it.

`python -m tests.support.sweep_process STORE COUNT OPTIONS`: runs a sweep of that many evaluations
of the crashing evaluator; OPTIONS is a JSON object. Ends with the summary as JSON, or with exit
code 3 and the error.
"""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orchestrator.driver.loop import LaunchOptions, run_sweep
from orchestrator.executors.inline import InlineExecutor
from orchestrator.progress.snapshot import Silent
from orchestrator.store.store import Store
from orchestrator.sweep import Resources
from tests.support.sweeps import sweep_of
from workers.contract.errors import SinkSweepError

ROOT = Path(__file__).resolve().parents[2]
CRASHING = "tests.support.crashing_evaluator:CrashingEvaluator"
MARKS = tuple(f"SINKSWEEP_TEST_PROCESS_{number}" for number in range(8))
"""Several: see `orchestrator.cluster.guardian.MARKS`."""


class Driver:
    """A running driver and everything it has started."""

    def __init__(
        self, store: Path | str, count: int, *, on_ray: bool | str = False, **options: Any
    ) -> None:
        """Start it. on_ray: on a Ray of its own, or on the one at this address."""
        self.mark = uuid.uuid4().hex
        self.store = Path(store)
        command = [sys.executable, "-m", "tests.support.sweep_process", str(store), str(count)]
        command.append(json.dumps({"on_ray": on_ray, **options}))
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **dict.fromkeys(MARKS, self.mark)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait(self, timeout: float = 120) -> dict[str, Any]:
        """Return the summary of a driver that ends by itself."""
        out, error = self.process.communicate(timeout=timeout)
        assert self.process.returncode == 0, f"{self.process.returncode}: {out}{error}"
        summary: dict[str, Any] = json.loads(out.splitlines()[-1])
        return summary

    def fails(self, timeout: float = 120) -> str:
        """Return the error of a driver that stops loudly."""
        out, error = self.process.communicate(timeout=timeout)
        assert self.process.returncode == 3, f"{self.process.returncode}: {out}{error}"
        return out

    def until_rows(self, count: int, timeout: float = 120) -> None:
        """Wait until the store holds so many rows."""
        end = time.monotonic() + timeout
        while Store(self.store).trials(["run_id"]).num_rows < count:
            assert time.monotonic() < end, "no rows appear"
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL the driver itself, and nothing of what it has started."""
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()

    def left_behind(self) -> list[int]:
        """Return the processes that the driver has started, itself included, and that live."""
        found = []
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if (
                    folder.name.isdigit()
                    and self.mark.encode() in (folder / "environ").read_bytes()
                ):
                    found.append(int(folder.name))
        return found

    def describe_left_behind(self) -> list[str]:
        """Return what is left, for a message."""
        lines = []
        for process in self.left_behind():
            with contextlib.suppress(OSError):
                command = Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ")
                lines.append(f"{process}: {command.decode(errors='replace')[:200]}")
        return lines

    def gone_within(self, seconds: float) -> bool:
        """Wait until nothing of the driver is left."""
        end = time.monotonic() + seconds
        while self.left_behind() and time.monotonic() < end:
            time.sleep(0.5)
        return not self.left_behind()


@contextlib.contextmanager
def _executor(
    on_ray: bool | str, evaluator: dict[str, Any], log_folder: str | None
) -> Iterator[Any]:
    if not on_ray:
        yield InlineExecutor(evaluator=CRASHING, options=evaluator)
        return
    from orchestrator.cluster.connection import connect  # Ray takes seconds to import
    from orchestrator.executors.ray_executor import RayExecutor

    place = {"address": on_ray} if isinstance(on_ray, str) else {"local": True}
    with connect(**place) as cluster:
        yield RayExecutor(
            cluster, Resources(), evaluator=CRASHING, options=evaluator, log_folder=log_folder
        )


def main(uri: str, count: str, text: str) -> int:
    """Run the sweep."""
    options = json.loads(text)
    on_ray = options.pop("on_ray")
    try:
        store = Store(uri)
        with _executor(on_ray, options, store.log_folder) as executor:
            sweep = sweep_of(int(count))
            summary = run_sweep(sweep, store, executor, LaunchOptions(), Silent())
    except SinkSweepError as error:
        print(f"{type(error).__name__}: {error}")  # noqa: T201
        return 3
    plain = dataclasses.asdict(dataclasses.replace(summary, latest=None))
    print(json.dumps({**plain, "not_run": summary.not_run}))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
