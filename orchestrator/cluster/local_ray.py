"""A Ray of this process: without dashboard, closed to others, and started again if it dies.

Its folder is private, because Ray makes what lies in it writable for everyone. It talks on the
loopback alone. Its workers import what the driver imports, not what lies in the working directory.
"""

import contextlib
import logging
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray
from ray._private import ray_constants
from ray.job_config import JobConfig

from orchestrator.cluster.cluster_file import TOKEN
from orchestrator.cluster.gpu_locks import HeldGpus, held_gpus
from orchestrator.cluster.guardian import guarded
from orchestrator.errors import ClusterError, UsageError
from workers.contract.file_datasets import expanded

OBJECT_STORE_BYTES = 100_000_000
"""Rows and parts are small: Ray's default of 30 % of the memory is not needed."""
TOKEN_PATH = expanded(TOKEN)
RESTARTS = 3
"""How often a local Ray that has died is started again."""
ROOT = str(Path(__file__).resolve().parents[2])
LONGEST_SOCKET = 103 if os.uname().sysname == "Darwin" else 107
_BELOW = len("/ss-12345678/r/session_2026-11-25_04-54-05_545824_1234567/sockets/plasma_store")
_LOG_LINES = 3
_LOOPBACK_VARIABLE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Off, nodes take the loopback for their address and listen there, on Linux as well."""


_OF_OTHER_CLUSTERS = ("RAY_USE_TLS", "RAY_RUNTIME_ENV_HOOK", "RAY_JOB_CONFIG_JSON_ENV_VAR")
"""Variables for a cluster that this one is not, with which it would not start."""


class LocalRay:
    """The Ray that this process has started, while `started` lasts."""

    def __init__(self, gpus: HeldGpus, folder: str) -> None:
        self._gpus, self._folder = gpus, folder
        self.restarts = 0

    def start(self) -> None:
        """Start it. Raises `ClusterError`."""
        try:
            with _on_loopback():
                join(
                    address="local",
                    num_cpus=usable_cpus(),
                    num_gpus=len(self._gpus.visible),
                    object_store_memory=OBJECT_STORE_BYTES,
                    include_dashboard=False,
                    _temp_dir=f"{self._folder}/r",
                )
        except Exception as error:  # Ray raises many kinds, and none can be mended here
            raise ClusterError(f"Ray does not start on this machine: {flattened(error)}") from error

    def death(self) -> str | None:
        """Return which of its processes has died, with its last words; None if all live."""
        node: Any = ray._private.worker._global_node  # noqa: SLF001 - no public way
        if node is None:
            return "it is not running"
        for kind, process in node.dead_processes():
            name = str(kind).rpartition(".")[2]
            logs = Path(node.get_logs_dir_path())
            lines: list[str] = []
            for file in (logs / f"{name}.err", logs / f"{name}.out"):
                with contextlib.suppress(OSError):
                    lines += file.read_text(errors="replace").strip().splitlines()[-_LOG_LINES:]
            last = " | ".join(line.strip()[:200] for line in lines[-_LOG_LINES:] if line.strip())
            words = f" (its last words: {last})" if last else ""
            return f"{name} (pid {process.pid}) ended with {process.poll()}{words}"
        return None

    def restart(self, death: str) -> str:
        """Start it again; return what to say. Raises `ClusterError` if it died too often."""
        if self.restarts >= RESTARTS:
            raise ClusterError(
                f"Ray on this machine has died {RESTARTS + 1} times: {death}; look at its memory "
                "and its disk, then launch again: what is done is in the store"
            )
        self.restarts += 1
        ray.shutdown()
        self.start()
        again = f"started again ({self.restarts} of {RESTARTS})"
        return f"Ray on this machine died and was {again}: {death}"


@contextlib.contextmanager
def started() -> Iterator[LocalRay]:
    """Start Ray on this machine, with the GPUs that no other sweep holds."""
    for name in _OF_OTHER_CLUSTERS:
        os.environ.pop(name, None)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(private_folder())
        _provide_token(folder)
        gpus = stack.enter_context(held_gpus())
        stack.enter_context(guarded(folder))
        if gpus.restricted:
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpus.visible)
        # Ray gives its workers the lowest priority; what they measure would then depend on
        # whatever else this machine does.
        os.environ.setdefault("RAY_worker_niceness", "0")
        local = LocalRay(gpus, folder)
        local.start()
        stack.callback(ray.shutdown)
        if TOKEN_PATH.exists():
            with contextlib.suppress(OSError):  # someone else's, or on a read-only disk
                TOKEN_PATH.chmod(0o600)
        yield local


@contextlib.contextmanager
def private_folder() -> Iterator[str]:
    """Make a folder for Ray that others cannot enter; its path leaves room for sockets."""
    root = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    if len(root) + _BELOW > LONGEST_SOCKET:
        raise UsageError(
            f"the temporary folder {root} has a path of {len(root)} characters and Ray's sockets "
            f"leave room for {LONGEST_SOCKET - _BELOW}: set TMPDIR to a shorter one, such as /tmp"
        )
    try:
        folder = tempfile.mkdtemp(prefix="ss-", dir=root)
    except OSError as error:
        raise UsageError(
            f"the temporary folder {root} cannot be written ({error.strerror}): set TMPDIR to one "
            "that can"
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def join(**options: Any) -> None:
    """Call `ray.init` so that it says nothing by itself and workers import what this driver does.

    Ray would put the working directory and the script's first on their path; and the last twenty
    lines of a raylet that dies into the terminal.
    """
    worker: Any = ray._private.worker  # noqa: SLF001 - no public way
    listen = worker.listen_error_messages
    worker.listen_error_messages = lambda *_: None  # a thread that would print those lines
    try:
        ray.init(
            log_to_driver=False,
            logging_level=logging.ERROR,
            job_config=JobConfig(_py_driver_sys_path=_Fixed([ROOT])),
            **options,
        )
    finally:
        worker.listen_error_messages = listen


class _Fixed(list[str]):
    """A list that Ray does not lengthen."""

    def extend(self, more: Any) -> None:
        """Stay as it is."""


def usable_cpus() -> int:
    """Return the processors that this process may use, which can be fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # not Linux


def protect_token(path: Path = TOKEN_PATH) -> None:
    """Keep Ray's authentication token from other users of this machine; make it if need be.

    Ray writes it readable for all; whoever reads it can run code in the cluster. Raises `OSError`.
    """
    if path.exists():
        path.chmod(0o600)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))


def _provide_token(folder: str) -> None:
    """See to it that Ray finds a token, in the private folder where the home cannot be written."""
    if os.environ.get("RAY_AUTH_MODE") == "disabled":
        return
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    if os.environ.get("RAY_AUTH_TOKEN") or (named and Path(named).is_file()):
        return
    os.environ.pop("RAY_AUTH_TOKEN_PATH", None)
    try:
        protect_token(TOKEN_PATH)
    except OSError:
        if TOKEN_PATH.exists():  # somebody else's to close, and good enough to be used
            return
        own = Path(folder, "auth_token")
        protect_token(own)
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(own)


@contextlib.contextmanager
def _on_loopback() -> Iterator[None]:
    """Have Ray's processes that are started meanwhile listen on the loopback alone."""
    os.environ.setdefault(_LOOPBACK_VARIABLE, "0")
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = os.environ[_LOOPBACK_VARIABLE] not in ("0", "false", "False")
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def flattened(error: Exception) -> str:
    """Return an error of several lines as one."""
    return " ".join(str(error).split())[:500]
