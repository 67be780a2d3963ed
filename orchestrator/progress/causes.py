"""Failures grouped by what caused them: the number of evaluations, and one whole message."""

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.progress.snapshot import GivenUp
from orchestrator.words import counted
from workers.contract.failures import first_line

NOT_TRIED = "not run, because the model does not load: "
"""How the message of what was not even tried begins; the cause is the rest."""


@dataclass(frozen=True)
class FailureCause:
    """Evaluations that were given up for one reason."""

    kind: str
    message: str
    """Whole, of the first of them."""
    evaluations: int
    example: str
    log_path: str | None

    def lines(self) -> list[str]:
        """Return the cause as lines of text: the message is never cut."""
        which = self.example if self.evaluations == 1 else counted(self.evaluations, "evaluation")
        first, *rest = self.message.strip().splitlines() or ["no message"]
        lines = [f"failed ({self.kind or 'error'}), {which}: {first}", *(f"  {at}" for at in rest)]
        if self.evaluations > 1:
            lines.append(f"  for example {self.example}")
        return lines + ([f"  log: {self.log_path}"] if self.log_path else [])


def cause_of(message: str | None) -> str:
    """Return what failures of one cause have in common: the first line of the message."""
    return first_line((message or "").removeprefix(NOT_TRIED))


def grouped(failures: Iterable[GivenUp]) -> list[FailureCause]:
    """Return the causes of failures, the most frequent first."""
    groups: dict[tuple[str, str], list[GivenUp]] = {}
    for failure in failures:
        groups.setdefault((failure.kind, cause_of(failure.message)), []).append(failure)
    causes = [
        FailureCause(
            kind=kind,
            message=members[0].message.removeprefix(NOT_TRIED),
            evaluations=len(members),
            example=members[0].label,
            log_path=next((one.log_path for one in members if one.log_path), None),
        )
        for (kind, _), members in groups.items()
    ]
    return sorted(causes, key=lambda cause: -cause.evaluations)
