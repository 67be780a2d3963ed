"""The columns of a row that ends in an error, the same whoever notices it."""

import traceback
from datetime import datetime, timezone
from typing import Any


def failure_columns(error: BaseException) -> dict[str, Any]:
    """Return status, error and ending columns for an error that has just been caught."""
    return {
        "status": "failed",
        "error_type": type(error).__name__,
        "error_message": str(error),
        "traceback": "".join(traceback.format_exception(error)),
        "finished_at": datetime.now(timezone.utc),
    }
