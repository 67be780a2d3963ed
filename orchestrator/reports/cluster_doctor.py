"""Is a cluster file ready for `ray up`, and are the machines of a running cluster alike?

The file is looked at before any money is spent; nothing is started and nobody is asked for it.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.cluster.cluster_file import ROOT, TOKEN, ClusterFile
from orchestrator.reports.doctor import Check
from orchestrator.sweep import Resources
from orchestrator.words import counted
from workers.contract.file_datasets import expanded

if TYPE_CHECKING:
    from orchestrator.cluster.survey import NodeReport

_CLOCK_SECONDS = 5.0
_FREE_BYTES = 2_000_000_000
_GPU_FAMILIES = re.compile(r"(g|p|a[23]-|trn|inf)\w*[.-]")
"""How the names of cloud machines with accelerators begin: g5.xlarge, p4d…, a2-highgpu-1g."""


def examine_file(file: ClusterFile, resources: Resources | None = None) -> Iterator[Check]:
    """Yield what is found about the file itself. resources: of the grid that shall run there."""
    if blanks := file.placeholders():
        message = f"still to be filled in: {', '.join(blanks)}; docs/cluster.md says with what"
        yield Check("placeholders", "failed", message)
    else:
        yield Check("placeholders", "ok", "everything is filled in")
    if reason := file.refusal():
        yield Check("file", "failed", f"`ray up` would refuse it: {reason}")
    else:
        yield Check("file", "ok", f"{file.provider}: valid for Ray")
    yield _ports(file)
    yield _token(file)
    yield _versions(file)
    yield _gpus(file, resources)
    yield _mounts(file)
    yield _key(file)


def _ports(file: ClusterFile) -> Check:
    open_to_all = [
        command
        for command in file.start_commands("head")
        if "--dashboard-host=127.0.0.1" not in command
    ]
    if open_to_all or "0.0.0.0" in "".join(file.start_commands("head")):
        remedy = "start the head with --dashboard-host=127.0.0.1"
        return Check("ports", "failed", f"the dashboard, which runs code, is open: {remedy}")
    if file.provider == "aws":
        for name, kind in _node_types(file).items():
            if not kind.get("node_config", {}).get("SecurityGroupIds"):
                message = (
                    f"{name}: no SecurityGroupIds: Ray makes a group with SSH open to the world"
                )
                return Check("ports", "failed", message)
    return Check("ports", "ok", "the dashboard listens on the head's loopback")


def _token(file: ClusterFile) -> Check:
    without = [
        role
        for role in ("head", "worker")
        if not all("RAY_AUTH_MODE=token" in command for command in file.start_commands(role))
    ]
    token = expanded(TOKEN)
    if without:
        message = (
            f"{', '.join(without)}: `ray start` without RAY_AUTH_MODE=token: anyone who reaches"
        )
        return Check("token", "failed", f"{message} the machine can run code on it")
    if not any(here == TOKEN or here == str(token) for here in file.mounts.values()):
        return Check("token", "failed", f"file_mounts does not bring {TOKEN} to the machines")
    if not token.exists():
        return Check("token", "failed", f"{TOKEN} is missing: `ray get-auth-token --generate`")
    if token.stat().st_mode & 0o077:
        return Check("token", "failed", f"others can read {TOKEN}: chmod 600 {TOKEN}")
    return Check("token", "ok", "asked for by every process, and here")


def _versions(file: ClusterFile) -> Check:
    from importlib.metadata import version

    commands = " ".join(
        str(command)
        for key in ("setup_commands", "head_setup_commands", "worker_setup_commands")
        for command in file.config.get(key) or ()
    )
    loose = [part for part in re.findall(r"pip install[^&|;]*?(?=\s[~/]\S*pip |$)", commands)
             if "-c " not in part and "--constraint" not in part]  # fmt: skip
    if loose:
        return Check("versions", "failed", "pip install without -c constraints.txt: pin what runs")
    pinned = re.search(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    here = version("ray")
    if pinned and pinned.group(1) != here:
        message = f"Ray {pinned.group(1)} is installed there, Ray {here} is here; they must agree"
        return Check("versions", "failed", f"{message}: pip install -c constraints.txt -e .")
    return Check("versions", "ok", f"pinned by constraints.txt, Ray {here} as here")


def _node_types(file: ClusterFile) -> Mapping[str, Any]:
    return file.config.get("available_node_types") or {}


def _gpus(file: ClusterFile, resources: Resources | None) -> Check:
    asked = bool(resources and (resources.gpus or resources.accelerator))
    if file.is_local:
        message = "the machines' GPUs are asked for once they run"
        return Check("gpus", "ok", message)
    have = set()
    for name, kind in _node_types(file).items():
        config = kind.get("node_config") or {}
        machine = str(config.get("InstanceType") or config.get("machineType") or "")
        if config.get("guestAccelerators") or _GPU_FAMILIES.match(machine.rpartition("/")[2]):
            have.add(name)
    wrong = [
        name
        for name, kind in _node_types(file).items()
        if (kind.get("resources") or {}).get("GPU") and name not in have
    ]
    if wrong:
        message = f"{', '.join(wrong)}: declares a GPU that this type of machine does not have"
        return Check("gpus", "failed", f"{message}: change the type, or leave `resources` to Ray")
    if not have:
        message = "no type of machine has a GPU"
        state = Check("gpus", "failed", f"{message}, and the grid asks for one: add such a type")
        return state if asked else Check("gpus", "warning", f"{message}: CPU timings")
    return Check("gpus", "ok", f"{', '.join(sorted(have))}")


def _mounts(file: ClusterFile) -> Check:
    gone = [
        here
        for here in file.mounts.values()
        if here != TOKEN and not (Path.cwd() / expanded(here)).exists()
    ]
    if gone:
        return Check("mounts", "failed", f"to be copied, and not here: {', '.join(gone)}")
    if "." in file.mounts.values() and not (Path.cwd() / "pyproject.toml").exists():
        message = "`.` is copied to the machines and is no checkout: run `ray up` in the checkout"
        return Check("mounts", "failed", message)
    return Check("mounts", "ok", "everything to be copied is here")


def _key(file: ClusterFile) -> Check:
    named = file.auth.get("ssh_private_key")
    if not named:
        state: Literal["failed", "ok"] = "failed" if file.is_local else "ok"
        return Check(
            "key",
            state,
            "no ssh_private_key is named" + ("" if file.is_local else ": Ray makes one"),
        )
    key = expanded(str(named))
    if not key.exists():
        return Check("key", "failed", f"{named} is missing: ssh-keygen -t ed25519 -f {named}")
    if key.stat().st_mode & 0o077:
        return Check(
            "key", "failed", f"others can read {named}, so SSH refuses it: chmod 600 {named}"
        )
    return Check("key", "ok", str(named))


def examine_nodes(reports: Sequence["NodeReport"]) -> Iterator[Check]:
    """Yield one finding per node of a running cluster; the head's own answers are the measure."""
    from workers.contract.installation import installation

    texts = Counter(tuple(sorted(report.texts.items())) for report in reports if report.texts)
    usual = texts.most_common(1)[0][0] if texts else ()
    for report in reports:
        name = f"node {report.hostname}"
        if report.problem:
            yield Check(name, "failed", report.problem)
            continue
        serious, mild = [], []
        if report.code is not None and (other := installation().difference(report.code)):
            serious.append(other)
        if report.gpus_declared and report.gpu_problem:
            declared = f"declares {counted(report.gpus_declared, 'GPU')}"
            serious.append(f"{declared} and cannot use them: {report.gpu_problem}")
        if differing := [text for text, value in usual if report.texts.get(text) != value]:
            whose = f"{', '.join(differing)} of Python {report.python}"
            mild.append(f"{whose} differ from the other nodes'")
        if abs(report.clock_seconds) > _CLOCK_SECONDS:
            mild.append(f"its clock is off by {report.clock_seconds:+.0f} s")
        if report.free_bytes < _FREE_BYTES:
            mild.append("its disk is nearly full")
        state: Any = "failed" if serious else ("warning" if mild else "ok")
        yield Check(name, state, "; ".join([*serious, *mild, _described(report)]))


def _described(report: "NodeReport") -> str:
    code = report.code.sources if report.code else "unknown"
    text = next(iter(report.texts.values()), "")[:12]
    parts = [
        f"Python {report.python}",
        f"torch {report.torch}",
        report.gpu or "no GPU",
        f"code {code}",
        f"texts {text}" if text else "",
        f"{report.free_bytes / 1e9:.0f} GB free",
        # Only the driver has to: a fact, not a fault.
        "" if report.sees_folder is None else f"store {'' if report.sees_folder else 'not '}seen",
    ]
    return ", ".join(filter(None, parts))
