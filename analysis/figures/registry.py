"""All figures by name, and the one way from a store to files: select, read blocks, draw, save."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from matplotlib.figure import Figure

from analysis.drawing import captions
from analysis.drawing.page.files import save
from analysis.drawing.page.panels import Page, faceted, joined, overlaid
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
        return fitted(lambda at: self.page(data, found, at), look)[0]


def fitted(page: Callable[[Look], Page], look: Look) -> tuple[Figure, Page]:
    """Draw a page, and return it as it was drawn (`compose`).

    Raises `DoesNotFitError`, naming a width that would do, if it does not fit.
    """
    try:
        with look.drawing():
            return compose(page(look), look)
    except DoesNotFitError as error:
        if error.is_low:
            raise
        for width in (width for width in WIDER if width > look.inches):
            wider = replace(look, width=width, figsize=None)
            try:
                with wider.drawing():
                    compose(page(wider), wider)
            except DoesNotFitError:
                continue
            raise DoesNotFitError(look.inches, error.why, width=width) from error
        raise DoesNotFitError(look.inches, error.why) from error


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
class Picture:
    """One figure, what is written about it, and the rows that it shows."""

    figure: Figure
    title: str
    caption: str
    row_ids: tuple[str, ...]
    missing: tuple[MissingRowsError, ...] = ()


@dataclass(frozen=True)
class Drawn:
    """What became of one figure: a file, or the reason why there is none."""

    name: str
    path: Path | None
    missing: tuple[MissingRowsError, ...] = ()
    refused: DoesNotFitError | None = None
    title: str = ""
    caption: str = ""
    row_ids: tuple[str, ...] = ()
    inches: float = 0.0
    """The height."""


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
    found = {name: _selected(groups, name) for name in names}
    wanted = [row for data, _ in found.values() for one in data.values() for row in one.block_rows]
    known = blocks.read(store, wanted)  # once for all: every file has to be looked into
    for name in names:
        try:
            one = _picture(groups, name, found[name], known, look, hue=hue)
        except MissingRowsError as error:
            yield Drawn(name, None, (error,))
            continue
        except DoesNotFitError as error:
            yield Drawn(name, None, (), error)
            continue
        save(one.figure, target(name), look)
        about = (one.title, one.caption, one.row_ids, float(one.figure.get_size_inches()[1]))
        yield Drawn(name, target(name), one.missing, None, *about)


def draw(
    store: Store, selection: Selection, name: str, look: Look
) -> tuple[Figure, tuple[MissingRowsError, ...]]:
    """Return the figure of one group and the rows that would complete it."""
    one = picture(store, {"": selection}, name, look)
    return one.figure, one.missing


def picture(
    store: Store, groups: Mapping[str, Selection], name: str, look: Look, *, hue: bool = False
) -> Picture:
    """Draw one figure of one group, or of several as facets or hues.

    A group without the rows of this figure is left out of it; its rows are among the missing.
    Raises `MissingRowsError` if that is all of them, `DoesNotFitError` at too small a width.
    """
    found = _selected(groups, name)
    known = blocks.read(store, [row for one in found[0].values() for row in one.block_rows])
    return _picture(groups, name, found, known, look, hue=hue)


def _picture(
    groups: Mapping[str, Selection],
    name: str,
    found: "Selected",
    known: blocks.Blocks,
    look: Look,
    *,
    hue: bool,
) -> Picture:
    family, (data, missing) = FAMILIES[name], found
    if not data:
        raise missing[0]
    hue = hue and family.overlays
    shown = [group for label, group in groups.items() if label in data]

    def page(at: Look) -> Page:
        if len(groups) == 1:
            return family.page(next(iter(data.values())), known, at)
        pages = []
        for number, (label, one) in enumerate(data.items()):
            # One of several hues has its colour for everything, and its name in the legend.
            colors = dict.fromkeys(at.colors, HUES[number % len(HUES)])
            alone = replace(at, facets=len(data))
            tinted = replace(at, colors=colors, prefix=f"{label}: ") if hue else alone
            pages.append((label, family.page(one, known, tinted)))
        if hue:
            return overlaid(pages)
        together = faceted(pages)
        return replace(together, caption=[*together.caption, *captions.left_out_of(shown, at)])

    figure, drawn = fitted(page, look)
    rows = dict.fromkeys(row for one in data.values() for row in one.row_ids)
    caption = joined(drawn.caption, look)
    return Picture(figure, drawn.title, caption, tuple(rows), tuple(missing))


Selected = tuple[dict[str, Drawable], list[MissingRowsError]]
"""What each group has of one figure, and what the groups lack."""


def _selected(groups: Mapping[str, Selection], name: str) -> Selected:
    """Return what each group has of one figure, and what the groups lack."""
    data: dict[str, Drawable] = {}
    missing: list[MissingRowsError] = []
    for label, selection in groups.items():
        try:
            data[label] = FAMILIES[name].select(selection)
            missing += data[label].missing
        except MissingRowsError as error:
            # No launch adds to what others reported.
            missing.append(MissingRowsError(error.what) if selection.is_reported else error)
    return data, missing
