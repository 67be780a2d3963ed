"""The files for Google Cloud and Kubernetes, held against Ray's own code and KubeRay's schema."""

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from orchestrator.cluster.cluster_file import read_cluster_file

ROOT = Path(__file__).parents[3]
GCP, KUBERAY = ROOT / "docs/cluster-gcp.yaml", ROOT / "docs/cluster-kuberay.yaml"


def strict(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    """An object with these properties and no other, as a structural schema prunes."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


_TEXT, _COUNT, _FLAG = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}
_TEXTS = {"type": "object", "additionalProperties": _TEXT}
_AMOUNTS = {"type": "object", "additionalProperties": {"type": ["integer", "string"]}}
_CONTAINER = strict(
    {
        "name": _TEXT,
        "image": _TEXT,
        "env": {"type": "array", "items": strict({"name": _TEXT, "value": _TEXT}, "name")},
        "resources": strict({"requests": _AMOUNTS, "limits": _AMOUNTS}),
    },
    "name",
)
_POD = strict(
    {
        "spec": strict(
            {
                "automountServiceAccountToken": _FLAG,
                "containers": {"type": "array", "items": _CONTAINER},
            },
            "containers",
        )
    }
)
# What the operator's CRD (ray.io/v1, RayCluster) says of the keys that can stand in such a file.
SCHEMA = strict(
    {
        "apiVersion": {"const": "ray.io/v1"},
        "kind": {"const": "RayCluster"},
        "metadata": {"type": "object"},
        "spec": strict(
            {
                "rayVersion": _TEXT,
                "enableInTreeAutoscaling": _FLAG,
                "authOptions": strict(
                    {"mode": {"enum": ["disabled", "token"]}, "enableK8sTokenAuth": _FLAG}
                ),
                "autoscalerOptions": strict(
                    {
                        "idleTimeoutSeconds": _COUNT,
                        "image": _TEXT,
                        "upscalingMode": {"enum": ["Default", "Aggressive", "Conservative"]},
                        "version": {"enum": ["v1", "v2"]},
                    }
                ),
                "headGroupSpec": strict({"rayStartParams": _TEXTS, "template": _POD}, "template"),
                "workerGroupSpecs": {
                    "type": "array",
                    "items": strict(
                        {
                            "groupName": _TEXT,
                            "replicas": _COUNT,
                            "minReplicas": _COUNT,
                            "maxReplicas": _COUNT,
                            "idleTimeoutSeconds": _COUNT,
                            "suspend": _FLAG,
                            "rayStartParams": _TEXTS,
                            "template": _POD,
                        },
                        *("groupName", "maxReplicas", "minReplicas", "template"),
                    ),
                },
            },
            "headGroupSpec",
        ),
    },
    *("apiVersion", "kind", "metadata", "spec"),
)


@pytest.fixture
def kuberay() -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load(KUBERAY.read_text())
    return config


def test_kubernetes_would_take_the_file(kuberay: dict[str, Any]) -> None:
    jsonschema.validate(kuberay, SCHEMA)


def test_a_misspelled_key_would_be_noticed(kuberay: dict[str, Any]) -> None:
    kuberay["spec"]["authOption"] = kuberay["spec"].pop("authOptions")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(kuberay, SCHEMA)


def test_the_autoscaler_of_ray_sees_four_workers_with_a_gpu(kuberay: dict[str, Any]) -> None:
    from ray.autoscaler._private.kuberay import autoscaling_config

    kuberay["metadata"]["namespace"] = "default"
    derived = autoscaling_config._derive_autoscaling_config_from_ray_cr(kuberay)
    worker = derived["available_node_types"]["gpu"]
    assert (worker["min_workers"], worker["max_workers"]) == (0, 4)
    assert worker["resources"]["GPU"] == 1
    head = derived["available_node_types"][derived["head_node_type"]]
    assert head["resources"]["CPU"] == 0
    assert derived["idle_timeout_minutes"] == 5


def test_the_versions_agree_and_the_token_is_asked_for(kuberay: dict[str, Any]) -> None:
    (pinned,) = re.findall(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert kuberay["spec"]["rayVersion"] == pinned
    assert kuberay["spec"]["authOptions"]["mode"] == "token"
    assert kuberay["spec"]["headGroupSpec"]["rayStartParams"]["dashboard-host"] == "127.0.0.1"


def test_ray_up_takes_the_file_for_google_cloud() -> None:
    file = read_cluster_file(GCP, complete=False)
    assert file.refusal() is None
    assert file.python == "~/venv/bin/python"
    assert file.uses_token


def test_on_google_cloud_nothing_is_billed_that_nobody_uses_and_no_role_is_made() -> None:
    config = read_cluster_file(GCP, complete=False).config
    assert config["provider"]["cache_stopped_nodes"] is False
    assert config["available_node_types"]["gpu_worker"]["min_workers"] == 0
    for kind in config["available_node_types"].values():
        assert kind["node_config"]["serviceAccounts"][0]["email"].startswith("FILL_IN")
        assert all(disk["autoDelete"] for disk in kind["node_config"]["disks"])
