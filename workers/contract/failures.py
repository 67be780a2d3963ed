"""What a failure was, and whether its evaluator can be trusted with another evaluation."""

import traceback
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from workers.contract.events import Finished

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
"""Failures after which the evaluator is replaced."""
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


def classify(error_type: str | None, error_message: str | None) -> str:
    """Return the kind of failure that a `failed` row describes."""
    name = (error_type or "").rpartition(".")[2]
    text = error_message or ""
    if name == "RuntimeError" and "CUDA" in text:
        return CUDA_OOM if "out of memory" in text else DEVICE
    return _BY_TYPE.get(name, ERROR)


def usable_after(finished: Finished) -> bool:
    """Tell whether the evaluator can be trusted with another evaluation.

    After an error of the device or of memory its process is in an unknown state.
    """
    row = finished.row
    if row["status"] == "ok" or not finished.evaluator_usable:
        return finished.evaluator_usable
    return classify(row.get("error_type"), row.get("error_message")) not in REPLACING


def failure_columns(error: BaseException) -> dict[str, Any]:
    """Return status, error and ending columns for an error that has just been caught."""
    return {
        "status": "failed",
        "error_type": type(error).__name__,
        "error_message": str(error),
        "traceback": "".join(traceback.format_exception(error)),
        "finished_at": datetime.now(timezone.utc),
    }
