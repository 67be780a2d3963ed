"""Keep two local sweeps on one machine off the same GPU.

Each local Ray counts GPUs for itself, so nothing in Ray stops two of them from sharing one. A
file lock per device does; the operating system releases it with the process, however it ends.
"""

import contextlib
import fcntl
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import ClusterError

LOCK_FOLDER = Path(tempfile.gettempdir())


@dataclass(frozen=True)
class Gpu:
    """A GPU of this machine."""

    index: str
    uuid: str


@dataclass(frozen=True)
class HeldGpus:
    """The GPUs that this process has for itself."""

    visible: tuple[str, ...]
    """As `CUDA_VISIBLE_DEVICES` takes them."""
    restricted: bool
    """Whether some of the machine's GPUs are left out."""


@contextlib.contextmanager
def held_gpus(
    gpus: Sequence[Gpu] | None = None, lock_folder: Path = LOCK_FOLDER
) -> Iterator[HeldGpus]:
    """Lock every visible GPU that is free; raises `ClusterError` if all of them are taken.

    gpus: to choose from, if not those of this machine. lock_folder: what sweeps have in common.
    """
    candidates = visible_gpus() if gpus is None else gpus
    with contextlib.ExitStack() as stack:
        held = []
        for gpu in candidates:
            path = lock_folder / f"sinksweep-{gpu.uuid}.lock"
            # Another user's lock file must be lockable as well.
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(descriptor)
                continue
            stack.callback(os.close, descriptor)
            held.append(gpu)
        if candidates and not held:
            raise ClusterError(
                "every GPU of this machine is in use by another sweep: wait for it to end, or "
                "use --set resources.gpus=0 with CUDA_VISIBLE_DEVICES empty"
            )
        yield HeldGpus(tuple(gpu.uuid for gpu in held), len(held) < len(candidates))


def visible_gpus() -> list[Gpu]:
    """Return the GPUs that `CUDA_VISIBLE_DEVICES` leaves of those in this machine."""
    command = ["nvidia-smi", "--query-gpu=index,uuid", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [line.split(",") for line in done.stdout.splitlines() if "," in line]
    gpus = [Gpu(row[0].strip(), row[1].strip()) for row in rows]
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is None:
        return gpus
    names = [name.strip() for name in allowed.split(",") if name.strip()]
    return [gpu for name in names for gpu in gpus if gpu.index == name or gpu.uuid.startswith(name)]
