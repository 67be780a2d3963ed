"""Reach a cluster's head from the machine of the user, by the SSH that `ray up` used.

Commands that look at a store on the head run there; the dashboard's port, which also takes jobs,
comes here through a tunnel that lasts as long as it is needed.
"""

import contextlib
import json
import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from orchestrator.cluster.cluster_file import read_cluster_file
from orchestrator.errors import ClusterError, UsageError
from workers.contract.file_datasets import expanded

DASHBOARD_PORT = 8265
DEFAULT_ADDRESS = f"http://127.0.0.1:{DASHBOARD_PORT}"
CONNECT_SECONDS = 15
_TUNNEL_SECONDS = 20.0
SSH_FAILED = 255
"""What ssh itself ends with when there is no connection."""


class Head:
    """The head of a cluster. Raises `ClusterError` where it cannot be found."""

    def __init__(self, path: str | Path) -> None:
        self.file = read_cluster_file(path)
        if self.file.is_local:
            self.address = self.file.addresses[0]
        else:
            from ray.autoscaler._private.commands import get_head_node_ip  # asks the cloud

            try:
                self.address = str(get_head_node_ip(str(self.file.path)))
            except Exception as error:  # whatever the cloud's library raises
                reason = " ".join(str(error).split())[:200]
                raise ClusterError(
                    f"--cluster {self.file.path}: no head is found ({reason}): "
                    f"`ray up {self.file.path}` starts it"
                ) from error
        key = self.file.auth.get("ssh_private_key")
        if not key and not self.file.is_local:  # then `ray up` has made one
            region = self.file.config["provider"].get("region")
            made = sorted(Path.home().glob(f".ssh/ray-autoscaler*_{region}.pem"))
            key = made[-1] if made else None
        self._key = str(expanded(str(key))) if key else None
        if self._key and not os.path.exists(self._key):  # noqa: PTH110
            raise UsageError(
                f"--cluster {path}: auth.ssh_private_key: {key} does not exist here; "
                f"`ssh-keygen -t ed25519 -f {key}` makes one, and the machines have to accept it"
            )
        self.target = f"{self.file.auth.get('ssh_user', 'root')}@{self.address}"

    def sweep(self, arguments: Sequence[str], *, terminal: bool = False) -> list[str]:
        """Return the command that runs `sweep ARGUMENTS` on the head."""
        program = for_shell(self.file.python)
        # The module is run from the environment, never from a folder that happens to lie there.
        start = " ".join([*self.file.variables, program])
        line = f"{start} -c {shlex.quote(_PROGRAM)} {shlex.join(arguments)}"
        return [*self.ssh(), *(["-t"] if terminal else []), self.target, line]

    def run(self, arguments: Sequence[str]) -> int:
        """Run `sweep ARGUMENTS` on the head, in this terminal; return its exit code."""
        command = self.sweep(arguments, terminal=sys.stdout.isatty())
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode == SSH_FAILED:
            raise ClusterError(self._why(done.stderr))
        sys.stderr.write(done.stderr)
        return done.returncode

    def ask(self, arguments: Sequence[str]) -> dict[str, Any]:
        """Run `sweep ARGUMENTS --json` on the head; return the object that it prints."""
        done = subprocess.run(self.sweep(arguments), capture_output=True, text=True, check=False)
        if done.returncode == SSH_FAILED:
            raise ClusterError(self._why(done.stderr))
        try:
            answer: dict[str, Any] = json.loads(done.stdout)
        except ValueError as error:
            last = (done.stderr.strip().splitlines() or ["no output"])[-1]
            raise ClusterError(
                f"SinkSweep does not run on {self.target} with {self.file.python} ({last})"
            ) from error
        return answer

    def ssh(self) -> list[str]:
        """Return `ssh` with the options for this cluster."""
        options = {"BatchMode": "yes", "ConnectTimeout": str(CONNECT_SECONDS), "LogLevel": "ERROR"}
        if self.file.is_local:
            options["StrictHostKeyChecking"] = "accept-new"
        else:  # addresses of machines that come and go carry other keys each time
            options |= {"StrictHostKeyChecking": "no", "UserKnownHostsFile": os.devnull}
        if self._key:
            options["IdentitiesOnly"] = "yes"
        key = ["-i", self._key] if self._key else []
        return ["ssh", *key, *(f"-o{name}={value}" for name, value in options.items())]

    def copy_folder(self, folder: str, target: str) -> None:
        """Copy a folder of the head into one here. Raises `ClusterError`."""
        source = f"{self.target}:{folder.rstrip('/')}/"
        command = ["rsync", "-a", "-s", "-e", shlex.join(self.ssh()), source, f"{target}/"]
        if "~" in folder[:1]:
            command.remove("-s")  # the remote shell has to expand it
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError as error:
            raise UsageError("rsync is not installed here: install it, it copies stores") from error
        if done.returncode == SSH_FAILED:
            raise ClusterError(self._why(done.stderr))
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise ClusterError(f"{folder} on {self.target} cannot be copied: {lines[0]}")

    @contextlib.contextmanager
    def tunnel(self, port: int = DASHBOARD_PORT) -> Iterator[str]:
        """Yield the URL under which a port of the head's loopback can be reached from here."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            here = probe.getsockname()[1]
        forward = ["-N", "-oExitOnForwardFailure=yes", "-L", f"127.0.0.1:{here}:127.0.0.1:{port}"]
        process = subprocess.Popen(
            [*self.ssh(), *forward, self.target],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for this process, which closes the tunnel
        )
        try:
            self._wait_for(process, here)
            yield f"http://127.0.0.1:{here}"
        finally:
            process.terminate()
            process.wait()
            if process.stderr is not None:
                process.stderr.close()

    def _wait_for(self, process: "subprocess.Popen[str]", port: int) -> None:
        deadline = time.monotonic() + _TUNNEL_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise ClusterError(self._why(process.stderr.read() if process.stderr else ""))
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
                return
            time.sleep(0.1)
        raise ClusterError(f"{self.target}: no tunnel within {_TUNNEL_SECONDS:.0f} s")

    def _why(self, output: str) -> str:
        """Return what ssh said as one line with a remedy."""
        said = (output.strip().splitlines() or ["no reason given"])[-1]
        where = f"the head {self.target} of {self.file.path}"
        if "ermission denied" in said:
            remedy = f"let it accept the key: ssh-copy-id -i {self._key}.pub {self.target}"
        elif "Host key verification" in said:
            remedy = (
                f"it is another machine than before: ssh-keygen -R {self.address}, if you know why"
            )
        else:
            remedy = "is the machine on, is the address right, and does it let SSH in from here?"
        return f"{where} cannot be reached by SSH ({said}): {remedy}"


@contextlib.contextmanager
def job_server(
    address: str | None, cluster: str | None, python: str | None, store_uri: str
) -> Iterator[tuple[str, str, str]]:
    """Yield (URL of the job server, Python there as a shell takes it, store as the head knows it).

    cluster: the file that `ray up` was given; its head is then reached through a tunnel.
    """
    if cluster is None:
        yield address or DEFAULT_ADDRESS, shlex.quote(python or "python"), store_uri
        return
    if address is not None:
        raise UsageError("--cluster and --address exclude each other: give one of them")
    head = Head(cluster)
    if head.file.uses_token:  # Ray reads it once, when it is imported
        os.environ["RAY_AUTH_MODE"] = "token"
    with head.tunnel() as url:
        chosen = shlex.quote(python) if python else for_shell(head.file.python)
        yield url, chosen, head.file.store_on_head(store_uri)


_PROGRAM = (
    "import sys; sys.path = [p for p in sys.path if p]; sys.argv[0] = 'sweep'; "
    "from orchestrator.cli import main; main()"
)


def for_shell(path: str) -> str:
    """Quote a path for a shell, except for a leading `~/`, which the shell shall expand."""
    return f"~/{shlex.quote(path[2:])}" if path.startswith("~/") else shlex.quote(path)
