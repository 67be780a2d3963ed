"""How an attempt fails: what kind of failure it is, and whether its evaluator can go on.

Decided once, by whoever holds the exception (`workers/host/evaluator_host.py`) or sees the
evaluator gone (`orchestrator/executors/`). What follows from it is the driver's to decide
(`orchestrator/driver/retries.py`).
"""

import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

INVALID = "invalid"
"""The spec, the text or the model's kind is wrong: never retried."""
NUMERICAL = "numerical"
"""NaN, or a self-check beyond its tolerance: the same again, never retried."""
MODEL_LOAD = "model_load"
CUDA_OOM = "cuda_oom"
"""The device's memory is full: one retry with half the chunk."""
DEVICE = "device"
"""The device reported an error; its evaluator is replaced."""
HOST_OOM = "host_oom"
WORKER_LOST = "worker_lost"
NODE_LOST = "node_lost"
INTERRUPTED = "interrupted"
ERROR = "error"
"""Anything else that an evaluation raised."""

REPLACING = frozenset({CUDA_OOM, DEVICE, HOST_OOM})
"""Failures after which the evaluator is in an unknown state and is replaced."""

_BY_TYPE: Mapping[str, str] = {
    "SpecError": INVALID,
    "UnsupportedModelError": INVALID,
    "CorpusError": INVALID,
    "NumericalError": NUMERICAL,
    "ModelLoadError": MODEL_LOAD,
    "DeviceMemoryError": CUDA_OOM,
    "OutOfMemoryError": CUDA_OOM,
    "MemoryError": HOST_OOM,
    "AcceleratorError": DEVICE,
}
"""By name, because neither torch nor ray is imported here; a subclass counts as its base."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why an attempt failed, as its row says it."""

    kind: str
    """One of the kinds above: what `sweep status` groups by."""
    error_type: str
    message: str
    traceback: str | None = None
    log_path: str | None = None
    """What the evaluation had printed."""

    @classmethod
    def of(cls, error: BaseException) -> "Failure":
        """Describe an exception that has just been caught."""
        return cls(
            kind=kind_of(error),
            error_type=type(error).__name__,
            message=str(error),
            traceback="".join(traceback.format_exception(error)),
        )

    @property
    def evaluator_usable(self) -> bool:
        """Whether the evaluator can be trusted with another evaluation."""
        return self.kind not in REPLACING

    def columns(self) -> dict[str, Any]:
        """Return the columns of a row that say it."""
        columns: dict[str, Any] = {
            "error_kind": self.kind,
            "error_type": self.error_type,
            "error_message": self.message,
            "traceback": self.traceback,
        }
        return columns | ({"log_path": self.log_path} if self.log_path else {})


def kind_of(error: BaseException) -> str:
    """Return the kind of failure that an exception stands for."""
    for base in type(error).__mro__:
        if base.__name__ in _BY_TYPE:
            return _BY_TYPE[base.__name__]
    if isinstance(error, RuntimeError) and "CUDA" in str(error):
        return CUDA_OOM if "out of memory" in str(error) else DEVICE
    return ERROR


def reason_of(error: BaseException) -> str:
    """Return the first line of an error's message; its class where it has none."""
    return first_line(str(error)) or type(error).__name__


def first_line(text: str | None) -> str:
    """Return the first line of an error's message, for a place that has room for one."""
    return ((text or "").strip().splitlines() or [""])[0]
