"""Find, start and describe the Ray cluster of a sweep.

Local mode starts a Ray of its own, without dashboard, that dies with this process. Everything
that goes wrong on the way is one line with a remedy.
"""

import contextlib
import logging
import os
import secrets
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import ray
import ray.exceptions

from orchestrator.cluster.gpu_locks import held_gpus
from orchestrator.cluster.guardian import guarded
from orchestrator.cluster.placement import Node
from orchestrator.errors import ClusterError, UsageError

OBJECT_STORE_BYTES = 100_000_000
"""Rows and parts are small: Ray's default of 30 % of the memory is not needed."""
TOKEN_PATH = Path.home() / ".ray" / "auth_token"
_PROBE_SECONDS = 3.0


@dataclass(frozen=True)
class Cluster:
    """A connection to a running Ray cluster."""

    address: str
    """What it was reached by; `local` if this process started it."""

    @property
    def is_local(self) -> bool:
        """Tell whether this process started the cluster and will end it."""
        return self.address == "local"

    def nodes(self) -> list[Node]:
        """Return the nodes that are alive."""
        return [
            Node.from_resources(node["Resources"], node_id=node["NodeID"])
            for node in ray.nodes()
            if node["Alive"]
        ]

    def node_types(self) -> list[Node]:
        """Return the nodes that the autoscaler could start, one entry per node."""
        config = ray._private.state.state.get_cluster_config()  # noqa: SLF001 - no public way
        if config is None:
            return []
        return [
            Node.from_resources(dict(group.resources), node_id=None)
            for group in config.node_group_configs
            for _ in range(min(group.max_count, 10_000))
        ]

    def is_alive(self, node_id: str) -> bool:
        """Tell whether a node is still there."""
        return any(node.node_id == node_id for node in self.nodes())


@contextlib.contextmanager
def connect(*, local: bool = False, address: str | None = None) -> Iterator[Cluster]:
    """Connect to a cluster while the context lasts.

    local: start one on this machine. address: `HOST:PORT` or `auto`. Neither: the cluster in
    `RAY_ADDRESS`, or one that runs on this machine, else a local one. Raises `ClusterError`.
    """
    if local and address:
        raise UsageError("--local and --address exclude each other: give one of them")
    found = None if local else address or os.environ.get("RAY_ADDRESS") or _running()
    with contextlib.ExitStack() as stack:
        if found in (None, "local"):
            stack.enter_context(_started())
            cluster = Cluster("local")
        else:
            cluster = Cluster(_reached(str(found)))
        stack.callback(ray.shutdown)
        yield cluster


@contextlib.contextmanager
def _started() -> Iterator[None]:
    """Start Ray on this machine, with the GPUs that no other sweep holds."""
    protect_token()
    with held_gpus() as gpus, guarded():
        if gpus.restricted:
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpus.visible)
        # Ray gives its workers the lowest priority; what they measure would then depend on
        # whatever else this machine does.
        os.environ.setdefault("RAY_worker_niceness", "0")
        try:
            ray.init(
                address="local",
                num_cpus=usable_cpus(),
                num_gpus=len(gpus.visible),
                object_store_memory=OBJECT_STORE_BYTES,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=True,
            )
        except Exception as error:  # Ray raises many kinds, and none can be mended here
            raise ClusterError(f"Ray does not start on this machine: {_line(error)}") from error
        protect_token()
        yield


def usable_cpus() -> int:
    """Return the processors that this process may use, which can be fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # not Linux


def protect_token(path: Path = TOKEN_PATH) -> None:
    """Keep Ray's authentication token from other users of this machine.

    Ray writes it readable for all; whoever reads it can run code in the cluster.
    """
    if path.exists():
        path.chmod(0o600)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))


def _reached(address: str) -> str:
    if address.startswith("ray://"):
        raise UsageError(
            f"--address {address}: Ray Client loses work when its connection drops; run on the "
            "cluster's head with `--address auto`, or use `sweep submit`"
        )
    found = _running() if address == "auto" else address
    if found is None or not _answers(found):
        raise ClusterError(
            f"--address {address}: no Ray cluster answers there; start one with `ray start --head` "
            "or `ray up`, or use --local"
        )
    try:
        ray.init(address=found, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        raise ClusterError(f"--address {address}: {_reason(error)}") from error
    return found


def _reason(error: Exception) -> str:
    text = str(error)
    if "ersion mismatch" in text:
        return f"{_line(error)} Use the cluster's Ray and Python versions here, or `sweep submit`"
    if "token" in text.lower() or isinstance(error, ray.exceptions.AuthenticationError):
        return f"{_line(error)} Copy the cluster's ~/.ray/auth_token to this machine (mode 0600)"
    return f"the Ray cluster cannot be used: {_line(error)}"


def _running() -> str | None:
    """Return the address of the cluster that `ray start` left on this machine, if it answers."""
    root = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()) / "ray"
    try:
        address = (root / "ray_current_cluster").read_text().strip()
    except OSError:
        return None
    return address if address and _answers(address) else None


def _answers(address: str) -> bool:
    """Tell whether something listens there; Ray itself would try for a minute."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise UsageError(f"--address {address}: must be HOST:PORT or auto")
    try:
        with socket.create_connection((host, int(port)), timeout=_PROBE_SECONDS):
            return True
    except OSError:
        return False


def _line(error: Exception) -> str:
    """Return an error of several lines as one."""
    return " ".join(str(error).split())[:500]
