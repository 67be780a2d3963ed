"""All figures by name, and the one way from a store to files: select, read blocks, draw, save."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from matplotlib.figure import Figure

from analysis.drawing.sheet import save
from analysis.drawing.style import Look
from analysis.errors import MissingRowsError
from analysis.figures import (
    ablation,
    ablation_panels,
    latency_memory,
    main_comparison,
    pareto,
    perplexity_over_position,
    results_summary,
)
from analysis.rows import blocks
from analysis.rows.comparable import Selection
from orchestrator.store.store import Store


class Drawable(Protocol):
    """What a family's `select` returns: the rows to draw."""

    @property
    def block_rows(self) -> list[str]:
        """The row ids whose blocks are needed; no others are read."""

    @property
    def row_ids(self) -> list[str]:
        """The row ids of what is drawn."""

    @property
    def missing(self) -> tuple[MissingRowsError, ...]:
        """Rows without which the figure is incomplete."""


@dataclass(frozen=True)
class Family:
    """A figure: which rows it shows, and how they are drawn. Both are pure functions."""

    select: Callable[[Selection], Any]
    draw: Callable[[Any, blocks.Blocks, Look], Figure]


FAMILIES: dict[str, Family] = {
    "main_comparison": Family(main_comparison.select, main_comparison.draw),
    "ablation_window_size": Family(ablation.select_window_size, ablation_panels.draw),
    "ablation_n_sink": Family(ablation.select_n_sink, ablation_panels.draw),
    "results_summary": Family(results_summary.select, results_summary.draw),
    "perplexity_over_position": Family(
        perplexity_over_position.select, perplexity_over_position.draw
    ),
    "latency_memory": Family(latency_memory.select, latency_memory.draw),
    "pareto": Family(pareto.select, pareto.draw),
}


@dataclass(frozen=True)
class Drawn:
    """What became of one figure: a file, or the reason why there is none."""

    name: str
    path: Path | None
    missing: tuple[MissingRowsError, ...] = ()


def draw_all(
    store: Store,
    selection: Selection,
    names: Sequence[str],
    target: Callable[[str], Path],
    look: Look,
) -> Iterator[Drawn]:
    """Draw figures one by one; one that lacks its rows does not stop the others."""
    for name in names:
        try:
            figure, missing = draw(store, selection, name, look)
        except MissingRowsError as error:
            yield Drawn(name, None, (error,))
            continue
        save(figure, target(name), look)
        yield Drawn(name, target(name), missing)


def draw(
    store: Store, selection: Selection, name: str, look: Look
) -> tuple[Figure, tuple[MissingRowsError, ...]]:
    """Return one figure and the rows that would complete it."""
    family = FAMILIES[name]
    try:
        data: Drawable = family.select(selection)
    except MissingRowsError as error:
        if selection.is_reported:  # no launch adds to what others reported
            raise MissingRowsError(error.what) from error
        raise
    found = blocks.read(store, data.block_rows)
    with look.drawing():
        return family.draw(data, found, look), data.missing
