"""Ask every node of a running cluster what it has: a small task on each, all at once.

What tells machines of one cluster apart is what makes sweeps fail or results differ: Python, torch,
a GPU that is declared and cannot be used, another code, another text of the interpreter, a clock
that is off, a full disk, a folder that is not shared.
"""

import importlib
import platform
import shutil
import socket
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from workers.contract.file_datasets import expanded
from workers.contract.installation import Installation, installation

SECONDS = 120.0
"""How long a node may take: it imports torch."""
INTERPRETERS_TEXTS = ("pydoc", "stdlib")


@dataclass(frozen=True)
class NodeReport:
    """One node's answers."""

    node_id: str
    hostname: str
    problem: str | None = None
    """Why there are no answers."""
    python: str = ""
    torch: str = ""
    gpu: str | None = None
    """Name of the first GPU, if torch can compute on it."""
    gpus_declared: int = 0
    gpu_problem: str | None = None
    code: Installation | None = None
    texts: Mapping[str, str] = field(default_factory=dict)
    """Hash of the interpreter's own texts, by dataset."""
    clock_seconds: float = 0.0
    """How far its clock is ahead of the asking one's, to within the time of the call."""
    free_bytes: int = 0
    sees_folder: bool | None = None


def survey(*, texts: Sequence[str] = (), folder: str | None = None) -> list[NodeReport]:
    """Ask all nodes that are alive. texts: datasets to hash. folder: is it seen from there?"""
    asked = {}
    for node in ray.nodes():
        if node["Alive"]:
            gpus = int(node["Resources"].get("GPU", 0))
            strategy = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            task = ray.remote(num_cpus=0, max_retries=0, max_calls=1)(_answer)
            call = task.options(scheduling_strategy=strategy).remote(list(texts), folder, gpus)
            asked[call] = (node["NodeID"], node["NodeManagerHostname"], gpus)
    began = time.time()
    ray.wait(list(asked), num_returns=len(asked), timeout=SECONDS)
    return [_report(call, *about, began) for call, about in asked.items()]


def _report(call: Any, node_id: str, hostname: str, gpus: int, began: float) -> NodeReport:
    try:
        found: dict[str, Any] = ray.get(call, timeout=0)
    except ray.exceptions.GetTimeoutError:
        ray.cancel(call, force=True)
        problem = f"no answer within {SECONDS:.0f} s"
    except Exception as error:  # whatever the node's installation raises
        problem = (str(error).strip().splitlines() or ["no reason given"])[-1].strip()
    else:
        there = float(found.pop("time"))
        ahead = there - time.time() if there > time.time() else min(0.0, there - began)
        return NodeReport(node_id, clock_seconds=ahead, gpus_declared=gpus, **found)
    return NodeReport(node_id, hostname, problem, gpus_declared=gpus)


def _answer(texts: Sequence[str], folder: str | None, gpus: int) -> dict[str, Any]:
    """Runs on the node."""
    import torch  # a node without it says so

    name = problem = None
    if gpus:
        device = importlib.import_module("workers.device")  # what an evaluator would go by
        problem = device.why_no_gpu()
        name = None if problem else torch.cuda.get_device_name()
    return {
        "hostname": socket.gethostname(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "gpu": name,
        "gpu_problem": problem,
        "code": installation(),
        "texts": {text: _text_hash(text) for text in texts},
        "time": time.time(),
        "free_bytes": shutil.disk_usage(tempfile.gettempdir()).free,
        "sees_folder": None if folder is None else expanded(folder).exists(),
    }


def _text_hash(dataset: str) -> str:
    # By name: the code of the node is asked, and only a task of this kind needs it here.
    resolve = importlib.import_module("workers.revisions").resolve
    spec = importlib.import_module("workers.contract.spec").EvalSpec
    return str(resolve(spec(model="demo", dataset=dataset, method="dense")).dataset_revision)
