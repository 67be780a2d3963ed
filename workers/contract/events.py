"""What an evaluation tells its driver while it runs: spans, progress, and one final row.

Plain data, picklable, without torch: the driver, the Ray actor and the inline executor all
speak it.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from workers.contract.rows import Span, Trial
from workers.contract.spec import EvalSpec

DEFAULT_EVALUATOR = "workers.evaluator:Evaluator"
"""Import path of the evaluator that measures."""


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """One attempt of one evaluation, as the driver hands it to an evaluator."""

    spec: EvalSpec
    sweep: str
    attempt: int = 1
    chunk_limit: int | None = None
    """Largest chunk of queries to try, after an out-of-memory attempt; None: no limit."""
    spans: Sequence[Span] = ()
    """Finished spans from the store; they are not computed again."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Columns only the driver knows: git_commit, git_dirty."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where an evaluation stands."""

    phase: str
    """`load`, `self-check`, `quality` or `latency`."""
    documents_done: int
    documents_total: int
    tokens_done: int
    tokens_total: int
    perplexity: float | None
    """Of what is done so far; None before the first span."""
    repeat: int | None = None
    """Of the decode, while it is timed, from 1; `tokens` are then the steps of all repeats."""
    repeats: int | None = None


@dataclass(frozen=True, kw_only=True)
class SpanDone:
    """A finished document, or a span of one."""

    row: Span


@dataclass(frozen=True, kw_only=True)
class TokenLosses:
    """The loss of every scored token, once, before the row that they belong to."""

    parquet: bytes
    """A whole Parquet file; the driver commits it as `STORE/tokens/<run_id>.parquet`."""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """The attempt is over: its one row, `ok` or `failed`."""

    row: Trial
    evaluator_usable: bool = True
    """False: the evaluator must be replaced (`failures.Failure.evaluator_usable`)."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How long an evaluation would take where it was tried, in seconds (`workers.speed_probe`)."""

    device: str
    load: float
    """Of model, texts and self-check, as far as they were not in memory."""
    setup: float
    """Until its passes begin, with all of that in memory."""
    quality: float
    """Of the whole pass, though only its beginning was run."""
    attention: float
    prefill: float
    """Of the text's last `speed_probe.prefill_limit` tokens."""
    decode: float
    """All warm-up and timed steps, and what surrounds them."""
    took: float
    """Of the probe itself."""


Event = Progress | SpanDone | TokenLosses | Speed | Finished
Evaluation = Generator[Progress | SpanDone | TokenLosses | Speed, None, Mapping[str, Any]]
"""One evaluation under way: yields, returns its result columns, and raises what goes wrong."""
