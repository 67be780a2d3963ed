"""The driver's side of shipping: each local text and model folder is packed once for a cluster."""

from collections.abc import Callable, Sequence
from typing import Any

from orchestrator.executors.evaluator_slot import EvaluatorSlot
from workers.contract.events import Assignment
from workers.host.shipped_files import local_paths, pack


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
