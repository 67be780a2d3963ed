"""The real evaluator, but an evaluation of the sweep `long` also waits for a moment.

So that one is always under way on every machine, and the machines have time for everything else.
"""

import time

from workers import evaluator
from workers.contract.events import Assignment, Evaluation

SECONDS = 2.0


class Evaluator(evaluator.Evaluator):
    """What the checkout of `tests/orchestrator/cluster/test_ray_up.py` evaluates with."""

    def run(self, assignment: Assignment) -> Evaluation:
        """Wait if the sweep is a long one, then evaluate."""
        if assignment.sweep == "long":
            time.sleep(SECONDS)
        return (yield from super().run(assignment))
