"""Which evaluators a cluster has room for: pure arithmetic over nodes and requests.

On GPUs an evaluator owns one GPU. On CPUs a node runs one evaluation at a time, because a second
one would disturb its timings; where nothing is timed, `resources.cpus` divides a node.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import ResourcesError
from orchestrator.sweep import Resources
from orchestrator.words import counted

ACCELERATOR_PREFIX = "accelerator_type:"
_ESCAPE = "use --set resources.gpus=0 to run on CPUs"


@dataclass(frozen=True)
class Node:
    """What a node has; `node_id` is None for one that the autoscaler could start."""

    node_id: str | None
    cpus: int
    gpus: int
    accelerators: frozenset[str] = frozenset()

    @classmethod
    def from_resources(cls, resources: Mapping[str, Any], *, node_id: str | None) -> "Node":
        """Read Ray's resource map."""
        prefix = ACCELERATOR_PREFIX
        kinds = (name.removeprefix(prefix) for name in resources if name.startswith(prefix))
        cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
        return cls(node_id, cpus, gpus, frozenset(kinds))


@dataclass(frozen=True)
class Request:
    """What one evaluator asks Ray for."""

    gpus: int
    cpus: int
    accelerator: str | None = None
    node_id: str | None = None
    """Evaluators for CPUs belong to a node; those for GPUs go where one is free."""

    @property
    def num_threads(self) -> int | None:
        """Threads of a CPU evaluation."""
        return self.cpus if self.gpus == 0 else None


def requests(
    resources: Resources,
    alive: Sequence[Node],
    possible: Sequence[Node],
    *,
    timed: bool = False,
) -> list[Request]:
    """Return one request for every evaluator that could run at a time, existing nodes first.

    possible: nodes that the autoscaler could start, existing ones included. timed: some evaluation
    measures latency, so that nothing else may run on the same CPUs. Raises
    `ResourcesError` if there is no room for any, naming what there is.
    """
    gpus = resources.gpus
    if gpus is None:
        gpus = int(any(node.gpus for node in (*alive, *possible)))
    if gpus > 1:
        raise ResourcesError(f"resources.gpus: 0 or 1 per evaluation for now, got {gpus}")
    if gpus:
        room = [_gpu_room(node, resources) for node in (possible or alive)]
        now = [_gpu_room(node, resources) for node in alive]
        request = Request(1, resources.cpus or 0, resources.accelerator)
        found = [request] * max(sum(room), sum(now))
    else:
        found = _on_cpus(resources, alive, possible, timed=timed)
    if not found:
        raise ResourcesError(_refusal(resources, gpus, [*alive, *possible]))
    return found


def _gpu_room(node: Node, resources: Resources) -> int:
    if resources.accelerator and resources.accelerator not in node.accelerators:
        return 0
    return min(node.gpus, node.cpus // resources.cpus) if resources.cpus else node.gpus


def _on_cpus(
    resources: Resources, alive: Sequence[Node], possible: Sequence[Node], *, timed: bool
) -> list[Request]:
    if resources.accelerator:
        return []
    placed = [
        Request(0, resources.cpus or node.cpus, node_id=node.node_id)
        for node in alive
        for _ in range(_cpu_room(node, resources, timed))
    ]
    # Nodes to come are asked for by size; once they are there, they are placed by name.
    more = sum(_cpu_room(node, resources, timed) for node in possible) - len(placed)
    sizes = [resources.cpus or node.cpus for node in possible if _cpu_room(node, resources, timed)]
    return placed + [Request(0, min(sizes))] * max(0, more) if sizes else placed


def _cpu_room(node: Node, resources: Resources, timed: bool) -> int:
    room = node.cpus // (resources.cpus or max(1, node.cpus))
    return min(1, room) if timed else room


def _refusal(resources: Resources, gpus: int, nodes: Sequence[Node]) -> str:
    wanted = [f"{gpus} GPU"] if gpus else []
    wanted += [f"accelerator {resources.accelerator}"] if resources.accelerator else []
    wanted += [counted(resources.cpus, "CPU")] if resources.cpus else []
    have = f"{counted(sum(node.gpus for node in nodes), 'GPU')} in all, "
    have += f"at most {max((node.cpus for node in nodes), default=0)} CPUs on a node"
    kinds = sorted(set().union(*(node.accelerators for node in nodes)))
    have += f", accelerators: {', '.join(kinds) or 'none'}"
    asked = ", ".join(wanted) or "a CPU"
    remedy = _ESCAPE if gpus else "ask for fewer with --set resources.cpus=N"
    if resources.accelerator and resources.accelerator not in kinds:
        other = " or ".join([*kinds[:3], "null"])
        remedy = f"take what is there with --set resources.accelerator={other}"
    return f"resources: each evaluation asks for {asked}; there are or could be {have}: {remedy}"


def describe_room(request: Request, count: int, *, alone: bool) -> str:
    """Return what the summary says about the hardware; alone: one evaluation per CPU node."""
    if request.gpus:
        kind = f" ({request.accelerator})" if request.accelerator else ""
        return f"up to {counted(count, 'evaluation')} at a time, each with a GPU{kind} to itself"
    threads = counted(request.cpus, "thread")
    room = "one evaluation at a time per node" if alone else f"up to {count} at a time"
    return f"on CPUs, {room}, {threads} each: timings are CPU timings"
