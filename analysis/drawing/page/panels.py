"""What a figure says it shows: panels, and the page they stand on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from matplotlib.axes import Axes

from analysis.drawing.axes import linear_ticks, log_ticks
from analysis.drawing.page import fonts
from analysis.drawing.style import Look

Step = Callable[[], object]


@dataclass
class Later:
    """What a panel does once its place is known."""

    names: list[Step] = field(default_factory=list)
    """When the width is known and the height is not: breaking names, leaving out ticks."""
    labels: list[Step] = field(default_factory=list)
    """When nothing moves any more: labels at points."""
    shown: set[str] = field(default_factory=set)
    """Sentences of the caption that hold, of those that depend on what had room."""


@dataclass(frozen=True)
class Panel:
    """One panel of a figure: its title and how it is drawn."""

    title: str
    draw: Callable[[Axes, Later], None]
    height: float = 1.0
    """Of the axes, in usual heights of a panel at this width."""
    inches: float | None = None
    """The height where it is not a matter of taste: a table, a list of names."""
    over: str = ""
    """A title of the whole row of panels, above their own."""


@dataclass(frozen=True)
class Page:
    """What stands on a sheet. Each group of panels is one facet."""

    title: str
    caption: Sequence[str]
    groups: Sequence[tuple[str, Sequence[Panel]]]
    columns: int = 1
    """How many panels of a group stand side by side where the width allows it."""
    stacked: bool = False
    """Facets stand one below the other: each takes the whole width."""
    names: Sequence[str] = ()
    """Names that the panels write: fonts are looked for that have their letters."""
    provided: Sequence[str] = ()
    """Sentences of the caption about labels: said only if a panel had room for these."""


def faceted(pages: Sequence[tuple[str, Page]]) -> Page:
    """Put pages on one sheet, each a facet under its name; what all captions say stands once."""
    titles = dict.fromkeys(page.title for _, page in pages)
    first = pages[0][1]
    return replace(
        first,
        title=" | ".join(titles),
        caption=_once(pages),
        groups=[(name, panels) for name, page in pages for _, panels in page.groups],
        names=[name for _, page in pages for name in page.names],
        provided=[one for _, page in pages for one in page.provided],
    )


def overlaid(pages: Sequence[tuple[str, Page]]) -> Page:
    """Draw the panels of pages into each other: the same axes, limits that hold all of them."""
    first = pages[0][1]
    stacks = zip(*(page.groups[0][1] for _, page in pages), strict=True)
    panels = [replace(stack[0], draw=partial(_overlay, stack)) for stack in stacks]
    titles = dict.fromkeys(page.title for _, page in pages)
    return replace(first, title=" | ".join(titles), caption=_once(pages), groups=[("", panels)])


def _once(pages: Sequence[tuple[str, Page]]) -> list[str]:
    """Return what all captions say, then what each says besides, under its name."""
    every = [page.caption for _, page in pages]
    shared = [one for one in every[0] if all(one in caption for caption in every)]
    said = list(shared)
    for name, page in pages:
        own = [one for one in page.caption if one not in shared]
        named = own and own[0].startswith(f"{name} ")
        said += own if named or not own else [f"{name}: {own[0]}", *own[1:]]
    return said


def _overlay(stack: Sequence[Panel], axes: Axes, later: Later) -> None:
    """Draw panels one over the other, then take the widest limits and all ticks."""
    corners, ticks, scales, drawn = [], {}, {"linear"}, False
    for panel in stack:
        axes.set_axis_on()
        panel.draw(axes, Later(names=later.names))  # labels of one would lie on the other
        if axes.axison:
            drawn = True
            corners.append((*axes.get_xlim(), *axes.get_ylim()))
            scales.add(axes.get_yscale())
            names = (text.get_text() for text in axes.get_xticklabels())
            ticks.update(dict(zip(axes.get_xticks(), names, strict=False)))
    if not drawn:
        return
    for text in [text for text in axes.texts if text.get_gid() == "note"]:
        text.remove()
    axes.set_axis_on()
    low, high = np.min(corners, axis=0), np.max(corners, axis=0)
    axes.set_yscale("log" if "log" in scales else "linear")
    axes.set_xlim(low[0], high[1])
    axes.set_ylim(low[2], high[3])
    (log_ticks if "log" in scales else linear_ticks)(axes.yaxis)
    if any(ticks.values()):
        axes.set_xticks(sorted(ticks), [ticks[place] for place in sorted(ticks)])
    else:
        (log_ticks if axes.get_xscale() == "log" else linear_ticks)(axes.xaxis)


def joined(sentences: Sequence[str], look: Look) -> str:
    """Return sentences as one paragraph."""
    return (" " if look.lang == "en" else "").join(sentences)


def note(axes: Axes, message: str, look: Look) -> None:
    """Write a message into the middle of a panel that has nothing to show."""
    axes.set_axis_off()
    lines = "\n".join(fonts.wrap(message, 0.7 * look.type.panel_width, look.type.label))
    text = axes.text(0.5, 0.5, lines, color=look.ground.quiet, transform=axes.transAxes)
    text.set(ha="center", va="center", gid="note")
