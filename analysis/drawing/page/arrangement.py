"""Where the panels of a page stand: rows of them, facets side by side or one below the other."""

from collections.abc import Sequence
from dataclasses import replace

from matplotlib.axes import Axes

from analysis.drawing.page.panels import Page, Panel
from analysis.drawing.style import Look

LOWEST = 0.42
"""Of the usual height: what is left of a panel where many share a page."""


def arranged(page: Page, look: Look, fewer: int = 0) -> tuple[list[list[Panel]], float]:
    """Return rows of panels, and how much lower than usual they are.

    Facets stand side by side, a column each: as few blocks of them as a page holds, wide ones
    before narrow ones, and lower ones where all that is not enough. `fewer`: by so many less
    stand side by side than the width seems to allow.
    """
    fits = max(1, int(look.inches / look.type.panel_width))
    groups = [list(panels) for _, panels in page.groups]
    if len(groups) == 1 or page.stacked:
        is_fixed = any(panel.inches for panel in groups[0])  # such know their own width
        columns = page.columns if is_fixed else min(page.columns, fits)
        rows = []
        for number, ((name, _), group) in enumerate(zip(page.groups, groups, strict=True)):
            # Where every facet is one row, its columns are titled once.
            is_row = is_fixed and number > 0 and 1 < len(group) <= columns
            titled = [replace(panel, title="") for panel in group] if is_row else group
            named = [replace(titled[0], over=name), *titled[1:]]
            rows += [named[start : start + columns] for start in range(0, len(named), columns)]
        return rows, 1.0
    names, usual = [name for name, _ in page.groups], look.type.panel_height
    panels = usual * sum(panel.height for panel in groups[0])
    around = 6 * look.type.panel / 72 * (len(groups[0]) + 0.5)
    most = max(1, max(fits, int(look.inches / look.type.facet_width)) - fewer)
    for side in range(min(fits, most, len(groups)), min(most, len(groups)) + 1):
        blocks = -(-len(groups) // side)
        if blocks * (panels + around) <= look.type.tallest:
            break
    side = -(-len(groups) // blocks)
    lower = min(1.0, max(LOWEST, (look.type.tallest / blocks - around) / panels))
    rows = []
    for start in range(0, len(groups), side):
        block = [*zip(names, groups, strict=True)][start : start + side]
        for n, first in enumerate(block[0][1]):
            row = [replace(group[n], title="" if n else name) for name, group in block]
            rows.append([replace(row[0], over=first.title), *row[1:]])
    return rows, lower


def share_labels(placed: Sequence[tuple[Axes, Panel, tuple[int, int]]], is_grid: bool) -> None:
    """Label the axes of facets once: times at the left, and the foot of every column.

    placed: axes with their panels and (row, column). Panels of a facet that share an axis have its
    ticks named at the foot.
    """
    shown: dict[tuple[str, int], str] = {}
    for axes, _, (row, column) in placed:
        if column and axes.get_ylabel() == shown.get(("y", row)):
            axes.set_ylabel("")
        shown["y", row] = axes.get_ylabel() or shown.get(("y", row), "")
    below: dict[int, tuple[Panel, list[str]]] = {}
    for axes, panel, (_, column) in reversed(placed):
        if axes.get_xlabel() and axes.get_xlabel() == shown.get(("x", column)):
            axes.set_xlabel("")
        ticks = [text.get_text() for text in axes.get_xticklabels()] if axes.axison else []
        is_same = is_grid and column in below and below[column][1] == ticks
        if is_same and not below[column][0].title and any(ticks):
            axes.tick_params(labelbottom=False)
        # The first panel of a facet ends it: another one may stand above.
        foot = axes.get_xlabel() or shown.get(("x", column), "")
        shown["x", column] = "" if panel.title else foot
        below[column] = (panel, ticks)
