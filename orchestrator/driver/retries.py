"""What a failure was, and whether another attempt can help.

The driver owns the attempts; Ray retries nothing. Failures that the evaluation brings on itself
count against `--max-attempts`; losing a worker or a node does not, up to `FREE_LOSSES`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workers.contract.failures import CUDA_OOM, INVALID, NODE_LOST, NUMERICAL, WORKER_LOST

FREE_LOSSES: Mapping[str, int] = {WORKER_LOST: 10, NODE_LOST: 10}
"""How many losses of each kind an evaluation is forgiven before they count as attempts."""
NEVER_RETRIED = frozenset({INVALID, NUMERICAL})
PERMANENT = "ModelRefusedError"
"""Type of the loading errors that reading again cannot help; others may be the network's."""
FIRST_DELAY = 0.5
"""Seconds before the second attempt; doubled for each further one."""
LONGEST_DELAY = 60.0
SMALLEST_CHUNK = 16


@dataclass
class AttemptHistory:
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
    history: AttemptHistory, kind: str, row: Mapping[str, Any], max_attempts: int
) -> Retry | None:
    """Record a failure in the history; return the retry that is due, or None to give up."""
    if kind in FREE_LOSSES and history.losses < FREE_LOSSES[kind]:
        history.losses += 1
        return Retry(0.0 if history.losses == 1 else _delay(history.losses - 1))
    history.counted += 1
    permanent = kind in NEVER_RETRIED or row.get("error_type") == PERMANENT
    if permanent or history.counted >= max_attempts:
        return None
    if kind == CUDA_OOM:
        # One retry, with half the chunk of the attempt that failed.
        history.out_of_memory += 1
        if history.out_of_memory > 1:
            return None
        last = row.get("chunk_size") or history.chunk_limit
        history.chunk_limit = max(SMALLEST_CHUNK, last // 2) if last else 256
        return Retry(0.0)
    return Retry(_delay(history.counted))


def _delay(failures: int) -> float:
    return min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** (failures - 1))
