"""End what is left of a local Ray when its driver is gone, however it went.

Ray's own processes end with their parent, but its two agents try for minutes to tell the dead
cluster of its death. A small process with nothing but the standard library waits for the
driver's end of a pipe to close, and then kills what carries the mark of that driver's cluster.
"""

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

MARKS = tuple(f"SINKSWEEP_LOCAL_CLUSTER_{number}" for number in range(8))
"""Environment variables that every process of a local cluster inherits.

Several, because Ray's agents overwrite a part of what `/proc` shows of their environment with
the names that they give themselves, and which part is chance.
"""
GRACE_SECONDS = 3.0
"""Time to end by themselves."""
WATCH_SECONDS = 10.0
"""How long to look after a driver that was killed: what it was just starting appears late."""
LIMIT_SECONDS = 25.0


@contextlib.contextmanager
def guarded(folder: str) -> Iterator[None]:
    """Mark what this process starts meanwhile, and have it end with this process at the latest.

    folder: removed then.
    """
    mark = uuid.uuid4().hex
    environment = {name: value for name, value in os.environ.items() if name not in MARKS}
    guardian = subprocess.Popen(
        [sys.executable, "-I", __file__, mark, str(os.getpid()), folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,  # whoever reads ours must not wait for it
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,  # Ctrl-C in the terminal is not for it
    )
    os.environ.update(dict.fromkeys(MARKS, mark))
    try:
        yield
    finally:
        for name in MARKS:
            os.environ.pop(name, None)
        if guardian.stdin is not None:  # the guardian is told, and not waited for
            with contextlib.suppress(OSError):  # it may have been killed
                guardian.stdin.write(b"in order")
                guardian.stdin.close()


def marked(mark: str) -> list[int]:
    """Return the processes that carry a mark; none where there is no `/proc`."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
    return found


def holders(inode: int) -> list[int]:
    """Return the processes that have a pipe open: forks of the driver that never became Ray.

    Such a fork carries the driver's environment, not the mark, and keeps the pipe from closing.
    """
    link = f"pipe:[{inode}]"
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(str(file.readlink()) == link for file in (folder / "fd").iterdir()):
                found.append(int(folder.name))
    return [process for process in found if process != os.getpid()]


def titled(folder: str) -> list[int]:
    """Return the processes of Ray that have a file below a folder open.

    Those that give themselves a title may overwrite all of their environment, marks included.
    """
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cmdline").read_bytes().startswith(b"ray::"):
                opened = (str(file.readlink()) for file in (process / "fd").iterdir())
                if any(path.startswith(f"{folder}/") for path in opened):
                    found.append(int(process.name))
    return found


def wait_for_end(driver: int) -> bool:
    """Wait until the driver has ended; return whether it said that all is in order."""
    while os.getppid() == driver:
        if select.select([sys.stdin], [], [], 0.5)[0]:
            return bool(os.read(0, 100))
    return False


def main(mark: str, driver: int, folder: str) -> None:
    """Wait for the driver to go, then see to it that its cluster and its folder go."""
    in_order = wait_for_end(driver)
    try:
        end_marked(mark, folder, in_order)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def end_marked(mark: str, folder: str, in_order: bool) -> None:
    """End what carries the mark or lives in the folder; in_order: the driver has done so itself."""
    inode = os.fstat(0).st_ino
    began = time.monotonic()
    passed = 0.0
    while passed < LIMIT_SECONDS:
        left = {*marked(mark), *titled(folder), *([] if in_order else holders(inode))}
        if not left and (in_order or passed >= WATCH_SECONDS):
            return
        if passed >= GRACE_SECONDS:
            for process in left:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(process, signal.SIGKILL)
        time.sleep(0.5)
        passed = time.monotonic() - began


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
