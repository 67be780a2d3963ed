"""Read a cluster file: the description that `ray up` takes, as far as SinkSweep has to know it.

Written for machines of one's own by `filled_in`, from the template in `docs/`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from orchestrator.errors import UsageError
from workers.contract.file_datasets import expanded

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "docs" / "cluster-local.yaml"
PLACEHOLDER = re.compile(r"[\w-]*FILL_IN\w*")
TOKEN = "~/.ray/auth_token"
"""Where Ray looks for the token of a cluster."""
TOKEN_MODE = "RAY_AUTH_MODE=token"


@dataclass(frozen=True)
class ClusterFile:
    """A cluster file, read."""

    path: Path
    text: str
    config: Mapping[str, Any]

    @property
    def provider(self) -> str:
        """`local`, `aws`, `gcp`, …"""
        return str(self._section("provider").get("type", ""))

    @property
    def is_local(self) -> bool:
        """Tell whether it lists machines that are there anyway."""
        return self.provider == "local"

    @property
    def auth(self) -> Mapping[str, Any]:
        """`ssh_user`, `ssh_private_key`."""
        return self._section("auth")

    @property
    def mounts(self) -> Mapping[str, str]:
        """What is copied to the machines: their path, and the path here."""
        return {str(there): str(here) for there, here in self._section("file_mounts").items()}

    @property
    def addresses(self) -> tuple[str, ...]:
        """Head and workers of a local cluster."""
        provider = self._section("provider")
        return (str(provider.get("head_ip")), *map(str, provider.get("worker_ips") or ()))

    @property
    def python(self) -> str:
        """The Python of the nodes that has SinkSweep: the one whose `ray` is started."""
        found = re.search(r"(\S+/bin)/ray start", "\n".join(self.start_commands("head")))
        return f"{found.group(1)}/python" if found else "python3"

    @property
    def checkout(self) -> str:
        """The folder of the checkout on the nodes, in which relative store paths are meant."""
        return next((there for there, here in self.mounts.items() if here in (".", "./")), "~")

    @property
    def uses_token(self) -> bool:
        """Tell whether Ray is started with token authentication."""
        return TOKEN_MODE in "\n".join(self.start_commands("head"))

    @property
    def variables(self) -> list[str]:
        """What Ray is started with, as `NAME=VALUE` for a shell there."""
        return re.findall(r"\bRAY_\w+=\S+", "\n".join(self.start_commands("head")))

    def start_commands(self, role: str) -> list[str]:
        """Return the `ray start` commands of `head` or `worker`."""
        commands = self.config.get(f"{role}_start_ray_commands") or ()
        return [str(command) for command in commands if "ray start" in str(command)]

    def placeholders(self) -> list[str]:
        """Return `LINE: NAME` for everything that is still to be filled in."""
        return [
            f"line {number}: {name}"
            for number, line in enumerate(self.text.splitlines(), 1)
            for name in PLACEHOLDER.findall(line.partition("#")[0])
        ]

    def refusal(self) -> str | None:
        """Return why `ray up` would not take it, with Ray's own check; None if it would."""
        from ray.autoscaler._private.util import prepare_config, validate_config  # seconds

        try:
            validate_config(prepare_config(dict(self.config)))
        except (Exception, SystemExit) as error:  # Ray's launcher leaves where it objects
            return " ".join(str(error).split())[:200] or "it objects without a reason"
        return None

    def store_on_head(self, uri: str) -> str:
        """Return a store as the head knows it; a relative path lies in the checkout there."""
        if "://" in uri or uri.startswith(("/", "~")):
            return uri
        return f"{self.checkout.rstrip('/')}/{uri}"

    def _section(self, name: str) -> Mapping[str, Any]:
        section = self.config.get(name) or {}
        if not isinstance(section, dict):
            raise UsageError(f"{self.path}: {name}: must hold keys and values")
        return section


def read_cluster_file(path: str | Path, *, complete: bool = True) -> ClusterFile:
    """Read a cluster file. Raises `UsageError`; if `complete`, for placeholders as well."""
    file = expanded(path)
    try:
        text = file.read_text(encoding="utf-8")
        config = yaml.safe_load(text)
    except OSError as error:
        raise UsageError(f"--cluster {path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(
            f"--cluster {path}: is not YAML: {' '.join(str(error).split())}"
        ) from error
    if not isinstance(config, dict) or "provider" not in config:
        raise UsageError(
            f"--cluster {path}: is not a file for `ray up`: `provider` is missing; "
            "`sweep cluster-file` writes one for machines of your own"
        )
    found = ClusterFile(file, text, config)
    if complete and (left := found.placeholders()):
        raise UsageError(
            f"--cluster {path}: still to be filled in: {', '.join(left)}; docs/cluster.md says "
            "with what, and `sweep cluster-file` does it for machines of your own"
        )
    return found


def filled_in(head: str, workers: Sequence[str], user: str, key: str) -> str:
    """Return the template for machines of one's own with its blanks filled in.

    Raises `UsageError` for what cannot be an address or a name, and without a checkout.
    """
    try:
        text = TEMPLATE.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{TEMPLATE}: {error.strerror}; the file is written from a checkout, whose folder is "
            "also what the machines get: clone the repository and `pip install -e .` it"
        ) from error
    values = {"HEAD": head, "WORKERS": ", ".join(workers), "USER": user, "KEY": key}
    addresses = (head, *workers)
    for address in addresses:
        if not re.fullmatch(r"[A-Za-z0-9][\w.:-]*", address):
            raise UsageError(
                f"{address!r}: must be the address or the name of a machine, such as 10.0.0.10"
            )
    if len(set(addresses)) < len(addresses):
        twice = "a machine stands there twice; the head is no worker as well"
        raise UsageError(f"{', '.join(addresses)}: {twice}")
    if not re.fullmatch(r"[\w.-]+", user):
        raise UsageError(f"--user {user!r}: must be the name of the user that SSH logs in as")
    for name, value in values.items():
        blank = re.compile(rf"\bFILL_IN_{name}\b")
        text = "\n".join(
            line if line.startswith("#") else blank.sub(value.replace("\\", r"\\"), line)
            for line in text.split("\n")
        )
    return text
