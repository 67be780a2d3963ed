"""All figures by name, and the one way from a store to files: select, read blocks, draw, save."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from matplotlib.figure import Figure

from analysis.drawing.page.files import save
from analysis.drawing.page.panels import Page, faceted, overlaid
from analysis.drawing.page.sheet import compose
from analysis.drawing.style import HUES, Look
from analysis.errors import DoesNotFitError, MissingRowsError
from analysis.figures import (
    ablation,
    ablation_panels,
    attention_sinks,
    latency_memory,
    main_comparison,
    pareto,
    perplexity_over_position,
    results_summary,
)
from analysis.rows import blocks
from analysis.rows.comparable import Selection
from orchestrator.store.store import Store

WIDER = (3.3, 5.5, 6.9, 10.0, 14.0, 20.0, 30.0, 60.0)
"""Widths that are tried when a figure does not fit the one that was asked for."""


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
    page: Callable[[Any, blocks.Blocks, Look], Page]

    overlays: bool = False
    """Whether the panels of several groups can be drawn into each other (`--hue`)."""

    def draw(self, data: Any, found: blocks.Blocks, look: Look) -> Figure:
        """Draw what was selected. Raises `DoesNotFitError` at a width that is too small for it."""
        return fitted(lambda at: self.page(data, found, at), look)


def fitted(page: Callable[[Look], Page], look: Look) -> Figure:
    """Draw a page. Raises `DoesNotFitError`, naming a width that would do, if it does not fit."""
    try:
        with look.drawing():
            return compose(page(look), look)
    except DoesNotFitError as error:
        if error.is_low:
            raise
        raise DoesNotFitError(look.inches, error.why, width=_enough(page, look)) from error


def _enough(page: Callable[[Look], Page], look: Look) -> float | None:
    for width in (width for width in WIDER if width > look.inches):
        wider = replace(look, width=width, figsize=None)
        try:
            with wider.drawing():
                compose(page(wider), wider)
        except DoesNotFitError:
            continue
        return width
    return None


FAMILIES: dict[str, Family] = {
    "main_comparison": Family(main_comparison.select, main_comparison.page),
    "ablation_window_size": Family(
        ablation.select_window_size, ablation_panels.page, overlays=True
    ),
    "ablation_n_sink": Family(ablation.select_n_sink, ablation_panels.page, overlays=True),
    "results_summary": Family(results_summary.select, results_summary.page),
    "perplexity_over_position": Family(
        perplexity_over_position.select, perplexity_over_position.page, overlays=True
    ),
    "latency_memory": Family(latency_memory.select, latency_memory.page, overlays=True),
    "pareto": Family(pareto.select, pareto.page, overlays=True),
    "attention_sinks": Family(attention_sinks.select, attention_sinks.page),
}


@dataclass(frozen=True)
class Drawn:
    """What became of one figure: a file, or the reason why there is none."""

    name: str
    path: Path | None
    missing: tuple[MissingRowsError, ...] = ()
    refused: DoesNotFitError | None = None


def draw_all(
    store: Store,
    groups: Mapping[str, Selection],
    names: Sequence[str],
    target: Callable[[str], Path],
    look: Look,
    *,
    hue: bool = False,
) -> Iterator[Drawn]:
    """Draw figures one by one; one that lacks its rows does not stop the others.

    `groups`: one comparable group, or several by the name of their facet (or hue).
    """
    for name in names:
        try:
            figure, missing = draw_groups(store, groups, name, look, hue=hue)
        except MissingRowsError as error:
            yield Drawn(name, None, (error,))
            continue
        except DoesNotFitError as error:
            yield Drawn(name, None, (), error)
            continue
        save(figure, target(name), look)
        yield Drawn(name, target(name), missing)


def draw_groups(
    store: Store, groups: Mapping[str, Selection], name: str, look: Look, *, hue: bool = False
) -> tuple[Figure, tuple[MissingRowsError, ...]]:
    """Return one figure of several groups, as facets or hues, and the rows that would complete it.

    A group without the rows of this figure is left out of it; its rows are among the missing.
    """
    if len(groups) == 1:
        (selection,) = groups.values()
        return draw(store, selection, name, look)
    family, found, missing = FAMILIES[name], {}, []
    for label, selection in groups.items():
        try:
            found[label] = family.select(selection)
            missing += found[label].missing
        except MissingRowsError as error:
            missing.append(error)
    if not found:
        raise missing[0]
    known = blocks.read(store, [row for data in found.values() for row in data.block_rows])
    hue = hue and family.overlays

    def page(at: Look) -> Page:
        pages = [
            (label, family.page(data, known, _tinted(at, label, number) if hue else at))
            for number, (label, data) in enumerate(found.items())
        ]
        return overlaid(pages) if hue else faceted(pages)

    return fitted(page, look), tuple(missing)


def _tinted(look: Look, label: str, number: int) -> Look:
    """Give one of several hues its colour for everything, and its name in the legend."""
    color = HUES[number % len(HUES)]
    return replace(look, colors=dict.fromkeys(look.colors, color), prefix=f"{label}: ")


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
    return family.draw(data, found, look), data.missing
