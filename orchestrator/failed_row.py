"""Rows about attempts that their evaluator could not describe itself."""

import uuid
from datetime import datetime, timezone
from typing import Any

from orchestrator.executors.base import Lost
from workers.contract.rows import complete, spec_columns
from workers.contract.spec import EVAL_VERSION, EvalSpec


def failed_row(spec: EvalSpec, sweep: str, attempt: int, lost: Lost) -> dict[str, Any]:
    """Return the `failed` row of an attempt whose evaluator died; what is unknown is null."""
    return complete(
        {
            **spec_columns(spec),
            "row_id": uuid.uuid4().hex,
            "attempt": attempt,
            "sweep": sweep,
            "source": "measured",
            "status": "failed",
            "eval_version": EVAL_VERSION,
            "error_kind": lost.kind,
            "error_type": lost.kind,
            "error_message": lost.message,
            "log_path": lost.log_path,
            "finished_at": datetime.now(timezone.utc),
        }
    )
