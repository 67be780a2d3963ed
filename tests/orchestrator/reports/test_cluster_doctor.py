"""What `sweep doctor --cluster` says of a file, each fault alone, and of nodes that differ."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.cluster.cluster_file import ClusterFile, filled_in, read_cluster_file
from orchestrator.cluster.survey import NodeReport
from orchestrator.reports.cluster_doctor import examine_file, examine_nodes
from orchestrator.sweep import Resources
from workers.contract.installation import installation

ROOT = Path(__file__).parents[3]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ClusterFile:
    """A file without a fault, in a home with key and token."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(ROOT)
    for name in (".ray/auth_token", ".ssh/sinksweep"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("secret")
        (tmp_path / name).chmod(0o600)
    path = tmp_path / "my-cluster.yaml"
    path.write_text(filled_in("10.0.0.1", ["10.0.0.2"], "ann", "~/.ssh/sinksweep"))
    return read_cluster_file(path)


def faults(file: ClusterFile, resources: Resources | None = None) -> dict[str, str]:
    return {
        check.name: check.message
        for check in examine_file(file, resources)
        if check.state == "failed"
    }


def changed(file: ClusterFile, change: Callable[[dict[str, Any]], Any]) -> ClusterFile:
    config = yaml.safe_load(file.text)
    change(config)
    return ClusterFile(file.path, yaml.safe_dump(config), config)


def test_a_file_in_order_has_no_fault(file: ClusterFile) -> None:
    assert faults(file) == {}


def test_what_is_left_to_fill_in_is_named_with_its_line(file: ClusterFile) -> None:
    (fault,) = faults(changed(file, lambda c: c["provider"].update(head_ip="FILL_IN_HEAD"))).items()
    assert fault[0] == "placeholders"
    assert "FILL_IN_HEAD" in fault[1]


def _replace(config: dict[str, Any], old: str, new: str) -> None:
    for role in ("head", "worker"):
        key = f"{role}_start_ray_commands"
        config[key] = [command.replace(old, new) for command in config[key]]


@pytest.mark.parametrize(
    ("name", "change", "remedy"),
    [
        ("ports", lambda c: _replace(c, "--dashboard-host=127.0.0.1", ""), "--dashboard-host"),
        ("ports", lambda c: _replace(c, "host=127.0.0.1", "host=0.0.0.0"), "--dashboard-host"),
        ("token", lambda c: _replace(c, "RAY_AUTH_MODE=token", ""), "RAY_AUTH_MODE=token"),
        ("token", lambda c: c["file_mounts"].pop("~/.ray/auth_token"), "file_mounts"),
        ("versions", lambda c: c["setup_commands"].append("pip install x"), "constraints.txt"),
        ("mounts", lambda c: c["file_mounts"].update({"~/m": "no/such/file"}), "no/such/file"),
        ("key", lambda c: c["auth"].update(ssh_private_key="~/.ssh/none"), "ssh-keygen"),
        ("file", lambda c: c.update(max_workres=3), "max_workres"),
    ],
)
def test_each_fault_is_found_and_has_a_remedy(
    file: ClusterFile, name: str, change: Callable[[dict[str, Any]], Any], remedy: str
) -> None:
    (fault,) = faults(changed(file, change)).items()
    assert fault[0] == name
    assert remedy in fault[1]


@pytest.mark.parametrize("name", [".ray/auth_token", ".ssh/sinksweep"])
def test_a_secret_that_others_can_read_is_a_fault(
    file: ClusterFile, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).chmod(0o644)
    (message,) = faults(file).values()
    assert "chmod 600" in message


def test_a_type_without_the_gpu_that_it_declares_or_that_is_asked_for_is_a_fault() -> None:
    aws = read_cluster_file(ROOT / "cluster.yaml", complete=False)
    assert "gpus" not in faults(aws)
    worker = "gpu_worker"

    def cheaper(config: dict[str, Any]) -> None:
        config["available_node_types"][worker]["node_config"]["InstanceType"] = "m7i.large"

    def declared(config: dict[str, Any]) -> None:
        cheaper(config)
        config["available_node_types"][worker]["resources"] = {"GPU": 1}

    assert "does not have" in faults(changed(aws, declared))["gpus"]
    assert "asks for one" in faults(changed(aws, cheaper), Resources(gpus=1))["gpus"]
    assert "gpus" not in faults(changed(aws, cheaper))


NODE = NodeReport(
    "1", "a", python="3.11.7", torch="2.13.0", code=installation(), texts={"pydoc": "x"},
    free_bytes=10**11,
)  # fmt: skip


def test_nodes_that_are_alike_are_in_order() -> None:
    states = [check.state for check in examine_nodes([NODE, replace(NODE, hostname="b")])]
    assert states == ["ok", "ok"]


@pytest.mark.parametrize(
    ("differs", "state", "words"),
    [
        ({"problem": "No module named 'torch'"}, "failed", "torch"),
        ({"code": replace(installation(), sources="0", folder="/x")}, "failed", "sources 0 in /x"),
        ({"code": replace(installation(), eval_version=99)}, "failed", "EVAL_VERSION 99"),
        ({"gpus_declared": 1, "gpu_problem": "no driver"}, "failed", "cannot use them: no driver"),
        ({"texts": {"pydoc": "y"}}, "warning", "pydoc"),
        ({"clock_seconds": 60.0}, "warning", "+60 s"),
        ({"free_bytes": 10**6}, "warning", "disk"),
    ],
)
def test_a_node_that_differs_is_named_with_what_differs(
    differs: dict[str, Any], state: str, words: str
) -> None:
    others = [NODE, NODE]
    odd = list(examine_nodes([*others, replace(NODE, hostname="odd", **differs)]))[-1]
    assert (odd.name, odd.state) == ("node odd", state)
    assert words in odd.message
