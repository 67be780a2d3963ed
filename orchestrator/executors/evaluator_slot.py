"""One evaluator on a cluster, as the driver knows it, and the arithmetic around it."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.cluster.placement import Request
from workers.contract.events import Assignment
from workers.host.shipped_files import local_paths, pack

BATCH_SECONDS = 0.1
"""Work handed over at once, where evaluations take milliseconds."""
LARGEST_BATCH = 64


@dataclass
class EvaluatorSlot:
    """One actor and what it is at."""

    id: str
    handle: Any
    request: Request
    node_id: str | None = None
    """Known, and the evaluator ready, after its first answer."""
    process_id: int | None = None
    call: Any = None
    """The call in flight; None: free."""
    run_ids: dict[str, None] = field(default_factory=dict)
    """What it was handed and has not finished, in order."""
    shipped: set[str] = field(default_factory=set)
    """Paths of the driver's machine that it has a copy of."""
    model: str | None = None
    idle_since: float = 0.0
    submitted_at: float = 0.0
    seconds_each: float | None = None
    """Time per evaluation, lately."""

    def capacity(self) -> int:
        """Return how many evaluations to hand over at once."""
        if self.seconds_each is None or self.seconds_each > BATCH_SECONDS / 2:
            return 1
        return max(1, min(LARGEST_BATCH, int(BATCH_SECONDS / self.seconds_each)))


def actor_options(request: Request, left_out: Collection[str]) -> dict[str, Any]:
    """Return what an evaluator asks of Ray; `left_out`: ids of nodes that must not have it."""
    strategy: Any = "DEFAULT"
    if request.node_id is not None:
        strategy = NodeAffinitySchedulingStrategy(request.node_id, soft=False)
    options = {
        "num_cpus": request.cpus,
        "num_gpus": request.gpus,
        "accelerator_type": request.accelerator,
        "scheduling_strategy": strategy,
    }
    if request.node_id is None and left_out:
        options["label_selector"] = {"ray.io/node-id": f"!in({','.join(left_out)})"}
    return options


def missing_requests(room: Sequence[Request], present: Sequence[Request]) -> list[Request]:
    """Return the requests in `room` that no evaluator stands for yet."""
    return list((Counter(room) - Counter(present)).elements())


def latest_log(folder: str, run_id: str) -> str | None:
    """Return the latest log of an evaluation, if its folder is seen from here."""
    logs = sorted(Path(folder).glob(f"{run_id}-*.log"), key=lambda path: path.stat().st_mtime)
    return str(logs[-1]) if logs else None


def one_line(error: Exception) -> str:
    """Return an error of several lines as one, without the machinery of Ray."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if "creation task" in text and lines:
        return lines[-1]  # the exception itself; above it stands Ray's own traceback
    return " ".join(lines)[:1000]


class PackedFiles:
    """What has been packed so far, as references that any worker can fetch."""

    def __init__(self, publish: Callable[[bytes], Any]) -> None:
        self._publish = publish
        self._references: dict[str, Any] = {}

    def for_slot(self, slot: EvaluatorSlot, assignments: Sequence[Assignment]) -> dict[str, Any]:
        """Return, by path, what this evaluator needs and does not have yet."""
        needed: dict[str, Any] = {}
        for path in {path for each in assignments for path in local_paths(each.spec)}:
            if path not in self._references:
                packed = pack(path)
                self._references[path] = None if packed is None else self._publish(packed)
            if self._references[path] is not None and path not in slot.shipped:
                needed[path] = self._references[path]
        slot.shipped.update(needed)
        return needed
