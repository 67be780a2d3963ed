"""A grid, expanded: the types that the driver, the store and the reports share, without YAML."""

from dataclasses import dataclass

from workers.contract.spec import EvalSpec


@dataclass(frozen=True)
class Resources:
    """What each evaluation may use; None leaves the choice to the machine or cluster."""

    gpus: int | None = None
    cpus: int | None = None
    accelerator: str | None = None


@dataclass(frozen=True)
class PlannedEvaluation:
    """One evaluation of a sweep, with its revisions resolved."""

    spec: EvalSpec
    priority: int
    entry: int
    """Position in `grids` of the first entry that names it."""


@dataclass(frozen=True)
class Sweep:
    """A grid, expanded."""

    name: str
    resources: Resources
    evaluations: tuple[PlannedEvaluation, ...]
    n_folded: int
    """Combinations that were equal to another one."""
