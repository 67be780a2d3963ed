"""What a failure was, and whether another attempt can help.

The driver owns the attempts; Ray retries nothing. Failures that the evaluation brings on itself
count against `--max-attempts`; losing a worker or a node does not, up to `FREE_LOSSES`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
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

FREE_LOSSES: Mapping[str, int] = {WORKER_LOST: 10, NODE_LOST: 10}
"""How many losses of each kind an evaluation is forgiven before they count as attempts."""
NEVER_RETRIED = frozenset({INVALID, NUMERICAL})
REPLACING = frozenset({CUDA_OOM, DEVICE, HOST_OOM})
"""Failures after which the evaluator is replaced."""
FIRST_DELAY = 0.5
"""Seconds before the second attempt; doubled for each further one."""
LONGEST_DELAY = 60.0
SMALLEST_CHUNK = 16

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


@dataclass
class History:
    """The failures of one evaluation during one launch."""

    attempts: int = 0
    """Attempts that were started, whatever became of them."""
    counted: int = 0
    """Those that count against `--max-attempts`."""
    losses: int = 0
    """Those that are forgiven."""
    out_of_memory: int = 0
    chunk_limit: int | None = None


@dataclass(frozen=True)
class Retry:
    """Another attempt is due."""

    delay: float
    """Seconds to wait before it."""


def after_failure(
    history: History, kind: str, row: Mapping[str, Any], max_attempts: int
) -> Retry | None:
    """Record a failure in the history; return the retry that is due, or None to give up."""
    if kind in FREE_LOSSES and history.losses < FREE_LOSSES[kind]:
        history.losses += 1
        return Retry(0.0 if history.losses == 1 else _delay(history.losses - 1))
    history.counted += 1
    if kind in NEVER_RETRIED or history.counted >= max_attempts:
        return None
    if kind == CUDA_OOM:
        return _after_out_of_memory(history, row)
    return Retry(_delay(history.counted))


def _after_out_of_memory(history: History, row: Mapping[str, Any]) -> Retry | None:
    """Allow one retry with half the chunk of the attempt that failed."""
    history.out_of_memory += 1
    if history.out_of_memory > 1:
        return None
    last = row.get("chunk_size") or history.chunk_limit
    history.chunk_limit = max(SMALLEST_CHUNK, last // 2) if last else 256
    return Retry(0.0)


def _delay(failures: int) -> float:
    return min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** (failures - 1))
