"""Try a few seconds of every kind of evaluation where they would run, before a sweep is launched.

The same executors and the same evaluator as in a launch; only that nothing is stored, and that what
fails is a problem that is told.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence

from orchestrator.driver.loop import TICK, LaunchOptions
from orchestrator.driver.probed_times import ProbedTimes, Tried
from orchestrator.driver.tally import spec_label
from orchestrator.executors.base import Executor, Lost, Returned, Update
from orchestrator.process import Interrupts
from workers.contract.events import Assignment, Finished, Speed
from workers.contract.spec import EvalSpec, loading_key

EVALUATOR = "workers.speed_probe:SpeedProbe"
"""Import path of the evaluator that tells how fast it is."""
LOSSES = 2
"""How often an evaluator may die over one evaluation."""


def try_out(
    specs: Sequence[EvalSpec], executor: Executor, began: float, tell: Callable[[str], None]
) -> ProbedTimes:
    """Return how long these evaluations would take; closes the executor.

    began: when starting to compute began (`time.monotonic`). tell: gets a line for every step.
    Raises `KeyboardInterrupt` on Ctrl-C and what the executor raises.
    """
    with Interrupts() as interrupts:
        try:
            probing = _Probing(specs, executor, began, tell)
            while probing.is_left():
                if interrupts.requested:
                    raise KeyboardInterrupt
                probing.step()
            return probing.found()
        finally:
            executor.close()


class _Probing:
    def __init__(
        self,
        specs: Sequence[EvalSpec],
        executor: Executor,
        began: float,
        tell: Callable[[str], None],
    ) -> None:
        self._executor, self._began, self._tell = executor, began, tell
        self._specs = {spec.run_id: spec for spec in specs}
        self._waiting = deque(self._specs)
        self._running: set[str] = set()
        self._losses = dict.fromkeys(self._specs, 0)
        self._speeds: list[Tried] = []
        self._problems: dict[str, list[str]] = {}
        """What failed, by the message that it failed with."""
        self._start: float | None = None
        self._room = 1
        self._still_since = time.monotonic()

    def is_left(self) -> bool:
        return bool(self._waiting or self._running)

    def step(self) -> None:
        """Hand out what waits, take what has come back; say why nothing runs."""
        self._executor.scale(len(self._waiting) + len(self._running))
        self._room = max(self._room, self._executor.room())
        for slot in self._executor.free():
            if not self._waiting:
                break
            # Of the loaded model, if there is one.
            same = (one for one in self._waiting if loading_key(self._specs[one]) == slot.model)
            run_id = next(same, self._waiting[0])
            self._waiting.remove(run_id)
            self._running.add(run_id)
            number = len(self._specs) - len(self._waiting)
            self._tell(f"probe {number}/{len(self._specs)}: {spec_label(self._specs[run_id])}")
            assignment = Assignment(spec=self._specs[run_id], sweep="probe")
            self._executor.submit(slot.id, [assignment])
        for update in self._executor.wait(TICK):
            self._handle(update)
        for line in self._executor.news():
            self._tell(line)
        now = time.monotonic()
        if self._executor.busy():
            self._still_since = now
        elif now - self._still_since > LaunchOptions.still_seconds and self.is_left():
            self._still_since = now
            self._tell(f"nothing runs: {self._executor.why()}")

    def found(self) -> ProbedTimes:
        return ProbedTimes(self._speeds, self._start or 0.0, self._room, self._problems)

    def _handle(self, update: Update) -> None:
        if isinstance(update, Returned):
            self._running.difference_update(update.run_ids)
            self._waiting.extend(update.run_ids)
        elif isinstance(update, Lost):
            for run_id in update.run_ids:
                self._running.discard(run_id)
                self._losses[run_id] += 1
                if self._losses[run_id] < LOSSES:
                    self._waiting.append(run_id)
                else:
                    self._failed(run_id, update.failure.message)
        elif isinstance(update.event, Speed):
            if self._start is None:
                self._start = max(0.0, time.monotonic() - self._began - update.event.took)
            self._speeds.append(Tried(self._specs[update.run_id], update.event))
        elif isinstance(update.event, Finished):
            self._running.discard(update.run_id)
            row = update.event.row
            if row["status"] == "failed":
                self._failed(update.run_id, row.get("error_message"))

    def _failed(self, run_id: str, message: str | None) -> None:
        failed = self._problems.setdefault(message or "no message", [])
        failed.append(spec_label(self._specs[run_id]))
