"""The cluster files: valid for Ray, complete for AWS, and with no unsafe or costly default left.

Ray's own validation does not look into `node_config`, nor for the files to be copied, nor at the
flags of `ray start`. These tests do, and they start the cluster's machines on a simulated EC2.
"""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.cluster.cluster_file import filled_in, read_cluster_file
from orchestrator.errors import UsageError

pytest.importorskip("ray")
boto3 = pytest.importorskip("boto3")
moto = pytest.importorskip("moto")

ROOT = Path(__file__).parents[3]
AWS = "cluster.yaml"
LOCAL = "docs/cluster-local.yaml"
TOKEN = "~/.ray/auth_token"


def read(name: str) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((ROOT / name).read_text())
    return config


def prepared(config: dict[str, Any]) -> dict[str, Any]:
    """Fill in Ray's defaults and validate, as `ray up` does."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    complete: dict[str, Any] = prepare_config(config)
    validate_config(complete)
    return complete


def start_commands(config: dict[str, Any]) -> Iterator[str]:
    for role in ("head", "worker"):
        for command in config[f"{role}_start_ray_commands"]:
            if "ray start" in command:
                yield command


@pytest.mark.parametrize("name", [AWS, LOCAL])
def test_ray_accepts_the_file(name: str) -> None:
    assert prepared(read(name))["cluster_name"].startswith("sinksweep")


@pytest.mark.parametrize("name", [AWS, LOCAL])
def test_every_file_to_be_copied_exists(name: str) -> None:
    for source in prepared(read(name))["file_mounts"].values():
        # The token is made by the user: the comment above it says how.
        assert source == TOKEN or (ROOT / source).exists()
    assert "ray get-auth-token --generate" in (ROOT / name).read_text()


@pytest.mark.parametrize("name", [AWS, LOCAL])
def test_ray_start_knows_every_flag(name: str) -> None:
    from ray.scripts.scripts import start

    known = {option for parameter in start.params for option in parameter.opts}
    for command in start_commands(prepared(read(name))):
        words = shlex.split(command.split("ray start", 1)[1])
        assert {word.split("=")[0] for word in words} <= known


@pytest.mark.parametrize("name", [AWS, LOCAL])
def test_the_dashboard_is_bound_to_loopback_and_every_process_asks_for_the_token(name: str) -> None:
    config = prepared(read(name))
    assert "0.0.0.0" not in yaml.safe_dump(config)
    head, worker = start_commands(config)
    assert "--dashboard-host=127.0.0.1" in head
    assert all("RAY_AUTH_MODE=token" in command for command in (head, worker))


@pytest.mark.parametrize("name", [AWS, LOCAL])
def test_only_pinned_versions_are_installed(name: str) -> None:
    config = prepared(read(name))
    installs = [
        command
        for key in ("setup_commands", "head_setup_commands", "worker_setup_commands")
        for command in config[key]
        if "pip install" in command
    ]
    assert installs
    assert all("-c ~/sinksweep/constraints.txt" in command for command in installs)
    assert not re.search(r"\.whl|-U\b|--upgrade", "".join(installs))
    pins = (ROOT / "constraints.txt").read_text()
    for package in ("ray", "torch", "boto3"):
        assert re.search(rf"^{package}==[\d.]+$", pins, re.MULTILINE)


def test_nothing_on_aws_is_billed_that_nobody_uses() -> None:
    config = prepared(read(AWS))
    assert config["provider"]["cache_stopped_nodes"] is False
    assert config["idle_timeout_minutes"] <= 10
    assert config["available_node_types"]["gpu_worker"]["min_workers"] == 0
    head = config["available_node_types"]["head"]
    assert head["resources"] == {"CPU": 0}
    assert not head["node_config"]["InstanceType"].startswith(("g", "p"))


def test_a_local_cluster_gives_no_machine_up() -> None:
    config = prepared(read(LOCAL))
    workers = config["provider"]["worker_ips"]
    (node_type,) = config["available_node_types"].values()
    assert node_type["min_workers"] == node_type["max_workers"] == len(workers)
    config = prepared(yaml.safe_load(filled_in("a", ["b", "c", "d"], "me", "~/.ssh/k")))
    (node_type,) = config["available_node_types"].values()
    assert node_type["min_workers"] == node_type["max_workers"] == 3
    assert "RAY_UP_enable_autoscaler_v2=0" in (ROOT / LOCAL).read_text()


def test_what_is_to_be_filled_in_is_explained() -> None:
    guide = (ROOT / "docs" / "cluster.md").read_text()
    for name in (AWS, LOCAL):
        for blank in set(re.findall(r"[\w-]*FILL_IN\w*", yaml.safe_dump(read(name)))):
            assert blank in guide


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Yield the file as a user would fill it in, inside a simulated AWS account."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("HOME", str(tmp_path))  # `ray up` writes a key pair into ~/.ssh
    config = read(AWS)
    with moto.mock_aws():
        ec2 = boto3.client("ec2", region_name=config["provider"]["region"])
        vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        group = ec2.create_security_group(GroupName="mine", Description="mine", VpcId=vpc)
        images = [image["ImageId"] for image in ec2.describe_images()["Images"]]
        for image, node_type in zip(images, config["available_node_types"].values(), strict=False):
            node = node_type["node_config"]
            node |= {"ImageId": image, "SecurityGroupIds": [group["GroupId"]]}
            profile = node["IamInstanceProfile"]["Name"]
            boto3.client("iam").create_instance_profile(InstanceProfileName=profile)
        yield prepared(config)


def test_ray_up_adds_no_role_no_open_group_and_no_old_image(aws: dict[str, Any]) -> None:
    from ray.autoscaler._private.aws.config import bootstrap_aws

    booted = bootstrap_aws(aws)
    for name, node_type in booted["available_node_types"].items():
        given = aws["available_node_types"][name]["node_config"]
        assert node_type["node_config"].items() >= given.items()
    assert boto3.client("iam").list_roles()["Roles"] == []
    ec2 = boto3.client("ec2", region_name=aws["provider"]["region"])
    groups = ec2.describe_security_groups()["SecurityGroups"]
    assert {group["GroupName"] for group in groups} == {"default", "mine"}


def test_both_kinds_of_machine_start_as_described(aws: dict[str, Any]) -> None:
    from ray.autoscaler._private.aws.config import bootstrap_aws
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    booted = bootstrap_aws(aws)
    provider = AWSNodeProvider(booted["provider"], booted["cluster_name"])
    ec2 = boto3.client("ec2", region_name=aws["provider"]["region"])
    for name, node_type in booted["available_node_types"].items():
        # botocore refuses misspelled keys of node_config, which Ray passes on unread.
        (started,) = provider.create_node(node_type["node_config"], {"ray-node-type": name}, 1)
        (reservation,) = ec2.describe_instances(InstanceIds=[started])["Reservations"]
        (instance,) = reservation["Instances"]
        assert instance["InstanceType"] == node_type["node_config"]["InstanceType"]
        assert instance["MetadataOptions"]["HttpTokens"] == "required"
        assert [group["GroupName"] for group in instance["SecurityGroups"]] == ["mine"]
        disk = instance["BlockDeviceMappings"][0]["Ebs"]
        assert disk["DeleteOnTermination"] is True
        (volume,) = ec2.describe_volumes(VolumeIds=[disk["VolumeId"]])["Volumes"]
        assert volume["Encrypted"] is True


def test_ray_sees_the_gpu_of_the_workers(aws: dict[str, Any]) -> None:
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    filled = AWSNodeProvider.fillout_available_node_types_resources(aws)["available_node_types"]
    assert filled["gpu_worker"]["resources"]["GPU"] == 1
    assert "GPU" not in filled["head"]["resources"]


def test_the_template_filled_in_has_no_blank_left_and_names_what_was_given(tmp_path: Path) -> None:
    file = tmp_path / "my-cluster.yaml"
    file.write_text(filled_in("10.0.0.1", ["10.0.0.2", "10.0.0.3"], "ann", "~/.ssh/mine"))
    found = read_cluster_file(file)
    assert found.addresses == ("10.0.0.1", "10.0.0.2", "10.0.0.3")
    assert found.auth == {"ssh_user": "ann", "ssh_private_key": "~/.ssh/mine"}
    assert found.python == "~/sinksweep-venv/bin/python"
    assert found.store_on_head("results") == "~/sinksweep/results"
    assert found.store_on_head("s3://b/p") == "s3://b/p"


def test_the_python_and_the_checkout_of_the_nodes_on_aws_are_known() -> None:
    found = read_cluster_file(ROOT / AWS, complete=False)
    assert (found.python, found.checkout) == ("~/venv/bin/python", "/home/ubuntu/sinksweep")


@pytest.mark.parametrize(
    ("head", "workers", "user"),
    [("a b", ["c"], "u"), ("a", ["a"], "u"), ("a", ["b"], "u; rm"), ("$(x)", ["b"], "u")],
)
def test_what_cannot_be_an_address_or_a_user_is_refused(
    head: str, workers: list[str], user: str
) -> None:
    with pytest.raises(UsageError):
        filled_in(head, workers, user, "~/.ssh/k")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("provider: {type: local, head_ip: FILL_IN_HEAD}", "line 1: FILL_IN_HEAD"),
        ("sweep: s", "is not a file for `ray up`"),
        ("a: [", "is not YAML"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_is_not_ready_is_refused_in_one_line(
    tmp_path: Path, text: str | None, words: str
) -> None:
    file = tmp_path / "c.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UsageError) as refusal:
        read_cluster_file(file)
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_the_head_on_aws_may_start_the_listed_types_under_the_name_of_the_cluster_alone() -> None:
    guide = (ROOT / "docs" / "cluster.md").read_text()
    (text,) = re.findall(r"cat > head.json <<JSON\n(.*?)\nJSON", guide, re.DOTALL)
    config = read(AWS)
    instances = "arn:aws:ec2:*:$ACCOUNT:instance/*"
    statements = json.loads(text)["Statement"]
    starts = [
        item
        for item in statements
        if item["Action"] == "ec2:RunInstances" and item["Resource"] == instances
    ]
    (start,) = starts
    workers = {
        kind["node_config"]["InstanceType"]
        for name, kind in config["available_node_types"].items()
        if name != config["head_node_type"]
    }
    allowed = start["Condition"]["StringEquals"]
    assert set(allowed["ec2:InstanceType"]) == workers
    assert allowed["aws:RequestTag/ray-cluster-name"] == config["cluster_name"]
    for item in statements:
        actions = item["Action"] if isinstance(item["Action"], list) else [item["Action"]]
        if any(not action.startswith("ec2:Describe") for action in actions):
            assert item["Resource"] != "*"
