"""Is this machine ready? Every check says what it found and, where it fails, what to do.

A check never raises: a broken installation is what it is for.
"""

import os
import platform
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Literal

from packaging.requirements import Requirement

from orchestrator.cluster.cluster_file import TOKEN
from orchestrator.words import counted
from workers.contract.errors import SinkSweepError
from workers.contract.failures import reason_of
from workers.contract.file_datasets import expanded

HUB_TIMEOUT = 5.0
_FREE_BYTES = 2_000_000_000


@dataclass(frozen=True)
class Check:
    """One finding."""

    name: str
    state: Literal["ok", "warning", "failed"]
    message: str


def examine(
    store_uri: str,
    *,
    local: bool = False,
    address: str | None = None,
    nodes: bool = False,
    hub: bool = True,
) -> Iterator[Check]:
    """Yield the findings one by one, the quick ones first.

    local: start Ray on this machine to see that it does. address: look at that cluster.
    nodes: ask every node of it.
    """
    yield Check("python", "ok", f"{platform.python_version()} at {sys.executable}")
    yield from _packages()
    yield _guarded("device", _device)
    yield _guarded("demo model", _demo_model)
    yield _guarded("store", lambda: _store(store_uri))
    if hub:
        yield _guarded("hub", _hub)
    yield _guarded("ray", lambda: _ray(local, address))
    if nodes:
        from orchestrator.cluster.connection import connect  # ray
        from orchestrator.cluster.survey import INTERPRETERS_TEXTS, survey
        from orchestrator.reports.cluster_doctor import examine_nodes

        folder = None if "://" in store_uri else str(expanded(store_uri).absolute())
        try:
            with connect(address=address or "auto"):
                yield from examine_nodes(survey(texts=INTERPRETERS_TEXTS, folder=folder))
        except SinkSweepError as error:
            yield Check("nodes", "failed", str(error))


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except SinkSweepError as error:
        return Check(name, "failed", str(error))
    except Exception as error:
        return Check(name, "failed", f"{type(error).__name__}: {reason_of(error)}")


def _packages() -> Iterator[Check]:
    """Compare what is installed with the lower bounds of this distribution."""
    try:
        wanted = requires("sinksweep") or []
    except PackageNotFoundError:
        message = "sinksweep itself is not installed; pip install -e . in its checkout"
        yield Check("packages", "warning", message)
        return
    for requirement in map(Requirement, wanted):
        if requirement.marker is not None:  # of an extra
            continue
        name = requirement.name
        optional = "; only --inline works without it" if name in ("ray", "datasets") else ""
        try:
            found = version(name)
        except PackageNotFoundError:
            state: Literal["warning", "failed"] = "warning" if optional else "failed"
            yield Check(name, state, f"not installed; pip install '{requirement}'{optional}")
            continue
        if requirement.specifier.contains(found, prereleases=True):
            yield Check(name, "ok", found)
        else:
            yield Check(name, "failed", f"{found} does not fit; pip install '{requirement}'")


def _device() -> Check:
    import torch  # slow to import, and broken installations fail here

    if not torch.cuda.is_available():
        message = (
            f"no GPU; evaluations run on the CPU, with {counted(torch.get_num_threads(), 'thread')}"
        )
        return Check("device", "warning", f"{message}, and timings are CPU timings")
    names = []
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        name = torch.cuda.get_device_name(index)
        names.append(f"{name} ({free / 1e9:.1f} of {total / 1e9:.1f} GB free)")
    # A kernel has to run: a driver that is too old is noticed only here.
    torch.ones(8, device="cuda").sum().item()
    return Check("device", "ok", f"{', '.join(names)}, CUDA {torch.version.cuda}")


def _demo_model() -> Check:
    from workers.contract.spec import EvalSpec
    from workers.revisions import resolve

    spec = resolve(EvalSpec(model="demo", dataset="random", method="dense", max_tokens=2))
    return Check("demo model", "ok", f"shipped, sha256 {str(spec.model_revision)[:12]}…")


def _store(uri: str) -> Check:
    from orchestrator.store.store import Store  # pyarrow

    store = Store(uri)
    existed = store.storage.local_root is None or store.storage.local_root.exists()
    name = f"doctor-{store.writer}"
    try:
        store.storage.replace("drivers", name, b"{}")
        store.storage.delete("drivers", name)
    except OSError as error:
        message = f"{store.uri} cannot be written: {error}; choose another with --store"
        return Check("store", "failed", message)
    if store.storage.local_root is None:
        return Check("store", "ok", f"{store.uri} can be written")
    root = store.storage.local_root
    free = shutil.disk_usage(root).free
    if not existed:
        shutil.rmtree(root)
    state: Literal["ok", "warning"] = "ok" if free > _FREE_BYTES else "warning"
    return Check("store", state, f"{root} can be written, {free / 1e9:.1f} GB free")


def _hub() -> Check:
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    if os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0"):
        return Check("hub", "warning", "HF_HUB_OFFLINE is set: only cached models and texts work")
    request = urllib.request.Request(f"{endpoint}/api/models/gpt2", method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=HUB_TIMEOUT):
            return Check("hub", "ok", f"{endpoint} answers")
    except urllib.error.HTTPError:
        return Check("hub", "ok", f"{endpoint} answers")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        message = f"{endpoint} cannot be reached ({reason}); cached models, local folders, file: "
        return Check("hub", "warning", message + "texts and --grid quickstart work without it")


def _ray(local: bool, address: str | None) -> Check:
    try:
        found = version("ray")
    except PackageNotFoundError:
        return Check("ray", "warning", "not installed; run with --inline")
    address = address or os.environ.get("RAY_ADDRESS")
    if not (local or address):
        message = f"{found}; not started (--local tries it here, --address looks at a cluster)"
        return Check("ray", _token_state(), message + _token_remedy())
    from orchestrator.cluster.connection import connect  # ray

    with connect(local=local, address=address) as cluster:
        nodes = cluster.nodes()
        possible = cluster.node_types()
    cpus, gpus = sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)
    kinds = sorted({kind for node in (*nodes, *possible) for kind in node.accelerators})
    count = counted(len(nodes), "node")
    message = f"{found}; {count}, {counted(cpus, 'CPU')}, {counted(gpus, 'GPU')}"
    message += f", can start up to {counted(len(possible), 'node')}" if possible else ""
    message += f", accelerators: {', '.join(kinds)}" if kinds else ""
    return Check("ray", _token_state(), message + _token_remedy())


def _token_state() -> Literal["ok", "warning"]:
    return "warning" if _token_remedy() else "ok"


def _token_remedy() -> str:
    token = expanded(TOKEN)
    if not token.exists() or not token.stat().st_mode & 0o077:
        return ""
    return f"; others on this machine can read {token}: chmod 600 it"
