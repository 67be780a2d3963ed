"""A table as a picture: as many columns as the width holds, never a number cut short."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from matplotlib.axes import Axes

from analysis.drawing.axes import LINE
from analysis.drawing.page import fonts
from analysis.drawing.page.sheet import MARGIN
from analysis.drawing.style import Look
from analysis.errors import DoesNotFitError

COLUMN_GAP = 0.065
ROW_GAP = 0.07
SPARED = (
    ("tokens",),
    ("compression", "tokens"),
    ("cache", "compression", "tokens"),
    ("cache", "runtime", "compression", "tokens"),
)
"""Columns that go first where the width does not hold all of them."""
OURS = "StreamingLLM"


@dataclass(frozen=True)
class Table:
    """A table whose cells are broken into lines so that it fits."""

    columns: tuple[str, ...]
    heads: tuple[tuple[str, ...], ...]
    rows: tuple[tuple[tuple[str, ...], ...], ...]
    """For each row and column the lines of the cell; a row of one cell is a heading."""
    widths: tuple[float, ...]
    """In inches, without the gaps."""
    texts: tuple[str, ...]
    left_out: tuple[str, ...] = ()

    def row_lines(self, row: Sequence[Sequence[str]]) -> int:
        """Return how many lines a row takes."""
        return max(map(len, row))


def room(look: Look) -> float:
    """Return the width that a table may take, in inches."""
    return look.inches - 2 * MARGIN


def fit_table(
    heads: Mapping[str, str],
    cells: Sequence[Mapping[str, str]],
    look: Look,
    *,
    group: str,
    texts: Sequence[str],
) -> Table:
    """Break the cells of a table, and leave out columns, until it fits the look's width.

    `group`: the column whose values become headings over their rows where it has no room;
    `texts`: columns set flush left. Raises `DoesNotFitError` where nothing helps.
    """
    size, wide = look.type.value, room(look)
    whole = _broken(heads, cells, tuple(heads), texts, size, at=None)
    if _total(whole) <= wide:
        return whole
    for spared in ((), *SPARED):
        kept = tuple(name for name in heads if name not in spared)
        for grouped in (False, True):
            columns = tuple(name for name in kept if not (grouped and name == group))
            table = _broken(heads, cells, columns, texts, size, at=wide)
            if grouped:
                table = _headed(table, cells, group, wide, size)
            if _total(table) <= wide:
                return replace(table, left_out=spared)
    needed = look.inches + _total(table) - wide
    raise DoesNotFitError(look.inches, "the table would be too wide", width=needed)


def height(table: Table, box: Sequence[str], look: Look) -> float:
    """Return the inches that a table takes, with the box above it."""
    rows = [table.heads, *table.rows]
    step = look.type.value * LINE / 72
    return _box_height(box, look) + sum(table.row_lines(row) * step + ROW_GAP for row in rows)


def draw_table(axes: Axes, table: Table, box: Sequence[str], look: Look) -> None:
    """Write the cells: texts flush left, numbers flush right, a rule under every line."""
    axes.set_axis_off()
    size, wide = look.type.value, room(look)
    axes.set(xlim=(0, wide), ylim=(height(table, box, look), 0))
    top = _box_height(box, look)
    if box:
        text = axes.text(0.07, 0.07, "\n".join(box), fontsize=look.type.value, va="top")
        # It is broken at the sheet's width, so it must not narrow the panel that is measured by it.
        text.set(linespacing=1.2, gid="box", in_layout=False)
        frame = {"facecolor": look.ground.panel, "edgecolor": look.ground.rim, "lw": 0.8}
        text.set_bbox({"boxstyle": "round,pad=0.4", **frame})
    stretch = (wide - _total(table)) / max(len(table.widths), 1)
    rows = [table.heads, *table.rows]
    for number, row in enumerate(rows):
        tall = table.row_lines(row) * size * LINE / 72 + ROW_GAP
        left, is_ours = 0.0, any(cell and cell[0].startswith(OURS) for cell in row)
        color = look.colors["streaming"] if is_ours else look.ground.ink
        is_bold = number == 0 or is_ours or len(row) == 1
        for name, inches, cell in zip(table.columns, table.widths, row, strict=False):
            is_text = name in table.texts or len(row) == 1
            edge = left if is_text else left + inches + stretch
            text = axes.text(edge, top + tall / 2, "\n".join(cell), fontsize=size, color=color)
            text.set(ha="left" if is_text else "right", va="center", linespacing=1.12)
            text.set_fontweight("bold" if is_bold else "normal")
            left += inches + COLUMN_GAP + stretch
        top += tall
        ends = number + 1 == len(rows) or len(rows[number + 1]) == 1 or number == 0
        color = look.ground.quiet if ends else look.ground.grid
        axes.axhline(top, color=color, linewidth=0.7)


def _box_height(box: Sequence[str], look: Look) -> float:
    return len(box) * look.type.value * 1.35 / 72 + 0.24 if box else 0.0


def _broken(
    heads: Mapping[str, str],
    cells: Sequence[Mapping[str, str]],
    columns: tuple[str, ...],
    texts: Sequence[str],
    size: float,
    *,
    at: float | None,
) -> Table:
    """Return the columns with every cell on one line, or broken where it can be."""

    def broken(name: str, cell: str) -> tuple[str, ...]:
        if at is None:
            return (cell,)
        if name in texts:
            return tuple(fonts.shorten(cell, max(0.16 * at, 0.62), size, 4))
        return tuple(cell.replace(" [", "\n[").split("\n"))

    rows = tuple(tuple(broken(name, line[name]) for name in columns) for line in cells)
    widest = [
        max(
            max(fonts.width(line, size, bold=True) for row in rows for line in row[column]),
            min(fonts.width(heads[name], size, bold=True), 0.42 if at else 99.0),
            max(fonts.width(word, size, bold=True) for word in heads[name].split()),
        )
        for column, name in enumerate(columns)
    ]
    written = tuple(
        tuple(fonts.wrap(heads[name], wide + 0.01, size, bold=True))
        for name, wide in zip(columns, widest, strict=True)
    )
    return Table(columns, written, rows, tuple(widest), tuple(texts))


def _headed(
    table: Table, cells: Sequence[Mapping[str, str]], group: str, wide: float, size: float
) -> Table:
    """Put a heading over the rows of each group instead of a column beside them."""
    rows: list[tuple[tuple[str, ...], ...]] = []
    before = None
    for line, row in zip(cells, table.rows, strict=True):
        if line[group] != before:
            rows.append((tuple(fonts.shorten(line[group], 0.9 * wide, size, 3)),))
            before = line[group]
        rows.append(row)
    return replace(table, rows=tuple(rows))


def _total(table: Table) -> float:
    return sum(table.widths) + COLUMN_GAP * (len(table.widths) - 1)
