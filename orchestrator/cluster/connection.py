"""Find, start and describe the Ray cluster of a sweep.

Local mode starts a Ray of its own that dies with this process (`local_ray`). Everything that goes
wrong on the way is one line with a remedy.
"""

import contextlib
import os
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import ray
import ray.exceptions
from ray._private.grpc_utils import init_grpc_channel

from orchestrator.cluster.local_ray import (
    TOKEN_PATH,
    LocalRay,
    flattened,
    join,
    protect_token,
    started,
)
from orchestrator.cluster.placement import Node
from orchestrator.errors import ClusterError, UsageError

_PROBE_SECONDS = 3.0
_SETTINGS_FRAME = 4
"""What an HTTP/2 server sends first."""


@dataclass(frozen=True)
class Cluster:
    """A connection to a running Ray cluster."""

    address: str
    """What it was reached by; `local` if this process started it."""
    local: LocalRay | None = None
    """The Ray that this process has started."""

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

    def identity(self) -> bytes | None:
        """Return what tells this cluster from another at its address; None if its head is silent.

        Ray keeps whoever asks a silent head anything for a minute, and then ends the process; and
        it aborts who asks one that was started again, which is another cluster.
        """
        if self.is_local:
            return b"local"
        status, reply = _answer_of(self.address, 1.0)
        return reply if status is grpc.StatusCode.OK else None

    def is_alive(self, node_id: str) -> bool:
        """Tell whether a node is still there: known to be, and its raylet answers.

        A raylet that was killed is gone at once, and its cluster hears of it seconds later.
        """
        for node in ray.nodes():
            if node["NodeID"] == node_id and node["Alive"]:
                return _answers(f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}", 1.0)
        return False

    def has_process(self, actor: Any) -> bool:
        """Tell whether an actor has a place and a process, be it still importing or building."""
        state = ray._private.state  # noqa: SLF001 - the public way needs the dashboard
        return bool(state.actors(actor._actor_id.hex()).get("Address", {}).get("Port"))  # noqa: SLF001


@contextlib.contextmanager
def connect(*, local: bool = False, address: str | None = None) -> Iterator[Cluster]:
    """Connect to a cluster while the context lasts.

    local: start one on this machine. address: `HOST:PORT` or `auto`. Neither: the cluster in
    `RAY_ADDRESS`, or one that runs on this machine, else a local one. Raises `ClusterError`.
    """
    if local and address:
        raise UsageError("--local and --address exclude each other: give one of them")
    if address is not None and not address.strip():
        raise UsageError("--address: must be HOST:PORT or auto, got nothing")
    found = None if local else address or os.environ.get("RAY_ADDRESS") or _running()
    with contextlib.ExitStack() as stack:
        if found in (None, "local"):
            yield Cluster("local", stack.enter_context(started()))
        else:
            cluster = Cluster(_reached(str(found)))
            stack.callback(ray.shutdown)
            yield cluster


def _reached(address: str) -> str:
    if address.startswith("ray://"):
        raise UsageError(
            f"--address {address}: Ray Client loses work when its connection drops; run on the "
            "cluster's head with `--address auto`, or use `sweep submit`"
        )
    if "://" in address:
        raise UsageError(
            f"--address {address}: must be HOST:PORT (HOST:6379 of the head) or auto; "
            "the address of a dashboard is for `sweep submit`"
        )
    found = _running() if address == "auto" else address
    if found is None or not _answers(found):
        raise ClusterError(
            f"--address {address}: no Ray cluster answers there; start one with `ray start --head` "
            "or `ray up`, or use --local"
        )
    _refuse_others(address, found)
    if TOKEN_PATH.exists():
        with contextlib.suppress(OSError):  # somebody else's to close
            protect_token(TOKEN_PATH)
    try:
        join(address=found)
    except Exception as error:
        reason = f"the Ray cluster cannot be used: {flattened(error)[:250]}"
        if "ersion mismatch" in str(error):
            remedy = "Use the cluster's Ray and Python versions here, or `sweep submit`"
            reason = f"{flattened(error)} {remedy}"
        raise ClusterError(f"--address {address}: {reason}") from error
    return found


def _refuse_others(address: str, found: str) -> None:
    """Raise `ClusterError` if what listens there is not Ray, or does not let this machine in.

    Ray itself would knock for half a minute and print each time.
    """
    has_certificates = os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true")  # as Ray reads
    greets = has_certificates or _speaks_grpc(found)
    answer = _answer_of(found)[0] if greets else grpc.StatusCode.UNIMPLEMENTED
    if answer is grpc.StatusCode.UNIMPLEMENTED:
        raise ClusterError(
            f"--address {address}: something else than Ray answers there; a cluster's address is "
            "HOST:6379 of its head (with certificates: set RAY_USE_TLS here too), and `sweep "
            "submit` takes the one of its dashboard"
        )
    if answer is grpc.StatusCode.UNAUTHENTICATED:
        raise ClusterError(f"--address {address}: {token_refusal()}")


def token_refusal() -> str:
    """Return why a cluster with a token does not let this machine in, and what to do."""
    named = [name for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH") if os.environ.get(name)]
    source = named[0] if named else "~/.ray/auth_token"  # as Ray looks for it
    if os.environ.get("RAY_AUTH_MODE") != "token":
        what = "the cluster asks for its token, and RAY_AUTH_MODE is not `token` here"
    elif _has_token():
        what = f"the cluster does not accept the token of this machine ({source})"
    else:
        what = f"the cluster asks for its token, and there is none here ({source})"
    remedy = "copy the head's ~/.ray/auth_token here (mode 0600) and set RAY_AUTH_MODE=token"
    return f"{what}: {remedy}"


def _has_token() -> bool:
    raylet: Any = ray._raylet  # noqa: SLF001 - no public way
    try:
        return bool(raylet.AuthenticationTokenLoader.instance().has_token())
    except ray.exceptions.AuthenticationError:  # none where one should be
        return False


def _running() -> str | None:
    """Return the address of the cluster that `ray start` left on this machine, if it answers."""
    root = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()) / "ray"
    try:
        address = (root / "ray_current_cluster").read_text().strip()
    except OSError:
        return None
    return address if address and _answers(address) else None


def _answers(address: str, seconds: float = _PROBE_SECONDS) -> bool:
    """Tell whether something listens there; Ray itself would try for a minute."""
    host, port = _parts(address)
    try:
        with socket.create_connection((host, port), timeout=seconds):
            return True
    except OSError:
        return False


def _speaks_grpc(address: str) -> bool:
    """Tell whether what listens there greets as Ray does, which itself would wait for a minute."""
    try:
        with socket.create_connection(_parts(address), timeout=_PROBE_SECONDS) as connection:
            connection.sendall(
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
            )
            header = connection.recv(9)
    except OSError:
        return False
    return len(header) >= 4 and header[3] == _SETTINGS_FRAME


def _answer_of(address: str, seconds: float = _PROBE_SECONDS) -> tuple[grpc.StatusCode, bytes]:
    """Ask for the cluster's id, with the token of this machine; return how that went, and it."""
    method = "/ray.rpc.NodeInfoGcsService/GetClusterId"
    try:
        with init_grpc_channel(address, (("grpc.enable_http_proxy", 0),)) as channel:
            return grpc.StatusCode.OK, channel.unary_unary(method)(b"", timeout=seconds)
    except grpc.RpcError as error:
        return error.code(), b""
    except ray.exceptions.AuthenticationError:  # a token should be there, and is not
        return grpc.StatusCode.UNAUTHENTICATED, b""


def _parts(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise UsageError(f"--address {address}: must be HOST:PORT or auto")
    return host.strip("[]"), int(port)
