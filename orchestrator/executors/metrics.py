"""What the evaluators do, as metrics that Ray exports to Prometheus."""

import collections
from collections.abc import Mapping
from typing import Any

from ray.util.metrics import Counter, Gauge


class Metrics:
    """What Ray's dashboard and Prometheus show of a sweep, under `ray_sinksweep_…`.

    Counted here and handed to Ray now and then: thousands of calls a second would cost more
    than the evaluations they count.
    """

    def __init__(self) -> None:
        self._attempts = Counter(
            "sinksweep_attempts", "Attempts that have ended", tag_keys=("sweep", "outcome")
        )
        self._evaluators = Gauge(
            "sinksweep_evaluators", "Evaluators by what they do", tag_keys=("state",)
        )
        self._waiting = Gauge("sinksweep_evaluations", "Evaluations that wait or run")
        self._ended: collections.Counter[tuple[str, str]] = collections.Counter()

    def ended(self, row: Mapping[str, Any]) -> None:
        """Count an attempt: `ok`, or the type of its error."""
        outcome = "ok" if row["status"] == "ok" else row.get("error_type") or "failed"
        self._ended[(row.get("sweep") or "", outcome)] += 1

    def report(self, *, busy: int, idle: int, starting: int, wanted: int) -> None:
        """Hand everything to Ray."""
        for (sweep, outcome), count in self._ended.items():
            self._attempts.inc(count, tags={"sweep": sweep, "outcome": outcome})
        self._ended.clear()
        for state, count in (("busy", busy), ("idle", idle), ("starting", starting)):
            self._evaluators.set(count, tags={"state": state})
        self._waiting.set(wanted)
