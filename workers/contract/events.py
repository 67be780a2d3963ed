"""What an evaluation tells its driver while it runs: parts, progress, and one final row.

Plain data, picklable, without torch: the driver, the Ray actor and the inline executor all
speak it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from workers.contract.spec import EvalSpec


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """One attempt of one evaluation, as the driver hands it to an evaluator."""

    spec: EvalSpec
    sweep: str
    attempt: int = 1
    chunk_limit: int | None = None
    """Largest chunk of queries to try, after an out-of-memory attempt; None: no limit."""
    parts: Sequence[Mapping[str, Any]] = ()
    """Finished parts from the store (`rows.DOCUMENTS` rows); they are not computed again."""
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
    """Of what is done so far; None before the first part."""


@dataclass(frozen=True, kw_only=True)
class PartDone:
    """A finished document or span: one `rows.DOCUMENTS` row."""

    row: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Finished:
    """The evaluation is over: one `rows.TRIALS` row, `ok` or `failed`."""

    row: Mapping[str, Any]
    evaluator_usable: bool = True
    """False after an error of the device or of memory: the evaluator must be replaced."""


Event = Progress | PartDone | Finished
