"""An evaluator that fails on command: what it does is chosen by the seed of the spec.

`script` maps a seed (as text, so that it survives JSON) to a list of acts, one per attempt; an
attempt beyond the list, and every seed without one, succeeds.
"""

import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.noop import NoopEvaluator
from workers.contract.errors import ModelLoadError, NumericalError, UnsupportedModelError
from workers.contract.events import Assignment, Evaluation, Progress, SpanDone
from workers.contract.rows import SCHEMA_VERSION, Span


class OutOfMemoryError(RuntimeError):
    """Named as torch names it."""


ERRORS = {
    "error": ValueError("broken on purpose"),
    "numerical": NumericalError("NaN in the logits"),
    "unsupported": UnsupportedModelError("ALiBi of a strange kind"),
    "model_load": ModelLoadError("no such model"),
    "oom": OutOfMemoryError("CUDA out of memory"),
    "cuda": RuntimeError("CUDA error: device-side assert triggered"),
}


class CrashingEvaluator(NoopEvaluator):
    """Succeeds like `NoopEvaluator`, unless the script says otherwise."""

    def __init__(
        self,
        *,
        script: Mapping[str, Sequence[str]] | None = None,
        seconds: float = 0.0,
        num_threads: int | None = None,
        spans: int = 0,
        scream: str = "",
        scream_text: bool = False,
    ) -> None:
        super().__init__(num_threads=num_threads)
        self._script, self._duration, self._spans = dict(script or {}), seconds, spans
        self._scream, self._scream_text = scream, scream_text

    def run(self, assignment: Assignment) -> Evaluation:
        """Act, then end like a no-op."""
        if self._scream:
            print(self._scream, assignment.spec.seed, flush=True)  # noqa: T201
        if self._scream_text:
            path = assignment.spec.dataset.removeprefix("file:")
            print(path, Path(path).read_text(), flush=True)  # noqa: T201
        acts = self._script.get(str(assignment.spec.seed), ())
        act = acts[assignment.attempt - 1] if assignment.attempt <= len(acts) else "ok"
        yield _progress(0)
        yield from self._slowly(assignment, act)
        results = yield from super().run(assignment)
        told = {"chunk_size": assignment.chunk_limit, "n_documents": len(assignment.spans)}
        return {**results, **told}

    def _slowly(self, assignment: Assignment, act: str) -> Iterator[Progress | SpanDone]:
        """Take the time in steps; the act happens halfway."""
        steps = max(1, self._spans or int(self._duration / 0.05))
        known = len(assignment.spans)
        for step in range(known, steps):
            if step == max(known, steps // 2):
                _perform(act)
            time.sleep(self._duration / steps)
            if self._spans:
                yield SpanDone(row=span(assignment.spec.run_id, step, step == steps - 1))
            yield _progress(step)


def span(run_id: str, number: int, last: bool = False) -> Span:
    """Return a `rows.DOCUMENTS` row."""
    return {
        "row_id": f"{run_id}-{number}",
        "run_id": run_id,
        "schema_version": SCHEMA_VERSION,
        "document": number,
        "start": 0,
        "stop": 10,
        "is_last": True,
        "document_tokens": 11,
        "document_bytes": 40,
        "nll_sum": float(number),
    }


def _perform(act: str) -> None:
    if act in ERRORS:
        raise ERRORS[act]
    if act == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if act == "slow":
        time.sleep(1.5)  # longer than a call to an evaluator lasts
    if act == "hang":
        time.sleep(3600)


def _progress(done: int) -> Progress:
    return Progress(
        phase="quality",
        documents_done=done,
        documents_total=10,
        tokens_done=done,
        tokens_total=10,
        perplexity=None,
    )
