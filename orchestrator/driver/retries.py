"""What a failure was, and whether another attempt can help.

The driver owns the attempts; Ray retries nothing. Failures that the evaluation brings on itself
count against `--max-attempts`; losing a worker or a node does not, up to `RetryRules.free_losses`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workers.contract.failures import CUDA_OOM, INVALID, NODE_LOST, NUMERICAL, WORKER_LOST

FORGIVEN = frozenset({WORKER_LOST, NODE_LOST})
NEVER_RETRIED = frozenset({INVALID, NUMERICAL})
PERMANENT = "ModelRefusedError"
"""Type of the loading errors that reading again cannot help; others may be the network's."""
LONGEST_DELAY = 60.0
SMALLEST_CHUNK = 16


@dataclass(frozen=True, kw_only=True)
class RetryRules:
    """How often and how soon an evaluation is tried again."""

    max_attempts: int = 3
    """Attempts per evaluation that may fail through its own doing."""
    first_delay: float = 0.5
    """Seconds before the second attempt; doubled for each further one."""
    free_losses: int = 10
    """How often an evaluation may lose its worker or its node before that counts as an attempt."""


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
    history: AttemptHistory, kind: str, row: Mapping[str, Any], rules: RetryRules
) -> Retry | None:
    """Record a failure in the history; return the retry that is due, or None to give up."""
    if kind in FORGIVEN and history.losses < rules.free_losses:
        history.losses += 1
        return Retry(0.0 if history.losses == 1 else _delay(history.losses - 1, rules))
    history.counted += 1
    permanent = kind in NEVER_RETRIED or row.get("error_type") == PERMANENT
    if permanent or history.counted >= rules.max_attempts:
        return None
    if kind == CUDA_OOM:
        # One retry, with half the chunk of the attempt that failed.
        history.out_of_memory += 1
        if history.out_of_memory > 1:
            return None
        last = row.get("chunk_size") or history.chunk_limit
        history.chunk_limit = max(SMALLEST_CHUNK, last // 2) if last else 256
        return Retry(0.0)
    return Retry(_delay(history.counted, rules))


def _delay(failures: int, rules: RetryRules) -> float:
    return min(LONGEST_DELAY, rules.first_delay * 2.0 ** (failures - 1))
