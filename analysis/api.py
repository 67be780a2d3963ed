"""Results from scripts and notebooks: a tidy frame, figures of it, tables and the audit.

The same functions that the `analysis` command calls, with the same rules: only what is comparable
is compared, what cannot be used is marked and compared with nothing. docs/analysis-api.md has an
example that runs.
"""

from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.drawing.page.panels import Later, Panel
from analysis.drawing.style import Look, parse_width
from analysis.figures import registry
from analysis.outputs import audit as auditing
from analysis.outputs import chart
from analysis.outputs import columns as shown
from analysis.outputs import table as rendering
from analysis.rows import blocks, comparable, frames
from orchestrator.errors import UsageError
from orchestrator.store.store import Store
from workers.contract.rows import TRIALS

__all__ = ["audit", "load", "plot", "table"]

STORE, STRIDE = "sinksweep_store", "sinksweep_baseline_stride"
"""Where a frame's `attrs` keep the store that its blocks are read from, and its baseline."""
FLAGS = tuple(name for name in frames.EVERYTHING if pa.types.is_boolean(TRIALS.field(name).type))
COUNTS = tuple(name for name in frames.EVERYTHING if pa.types.is_integer(TRIALS.field(name).type))
Where = Axes | Sequence[Axes] | npt.NDArray[Any] | None
"""Axes to draw on, one for each panel, as `pyplot.subplots` gives them; None: a new figure."""


def load(store: str | PathLike[str] = "results", *, baseline_stride: int = 1) -> pd.DataFrame:
    """Return every result of a store, one row each: typed, labelled, paired.

    Besides the columns of the store: `method_label`, `hollow`, `quality_unusable` and
    `speed_unusable` (why a number is no result, or null), `perplexity_increase` (a fraction),
    `speedup`, `speedup_low`, `speedup_high` and what they were paired with. Counts are `Int64`
    and flags `boolean`: a missing one stays missing. Filter it as any frame: pairs are made before.
    Raises `StoreError` for a store that cannot be read.
    """
    opened = Store(store)
    frame = frames.load(opened, baseline_stride=baseline_stride, columns=frames.EVERYTHING)
    frame = frame.drop(columns="reported")
    # Types that know a missing value.
    flags = [name for name in ("hollow", *FLAGS) if name in frame]
    counts = [name for name in COUNTS if name in frame]
    typed = frame.astype(dict.fromkeys(flags, "boolean") | dict.fromkeys(counts, "Int64"))
    typed.attrs.update({STORE: opened.uri, STRIDE: baseline_stride})
    return typed


def table(frame: pd.DataFrame, columns: Sequence[str] = ()) -> pd.DataFrame:
    """Return every result as numbers: value, low and high in columns of their own, in `docs` units.

    columns: as `analysis table --columns`. Raises `UsageError` for one that is not known.
    """
    rows = _plain(frame)
    found = _blocks(frame, shown.block_rows(rows))
    rows = shown.prepared(rows, found)
    return pd.DataFrame(rendering.figures(rows, shown.chosen(columns, rows)))


def audit(frame: pd.DataFrame) -> pd.DataFrame:
    """Return what is wrong with the rows, errors first: rule, severity, message, names of rows."""
    found = [one.as_dict() for one in auditing.audit(_plain(frame))]
    return pd.DataFrame(found, columns=["rule", "severity", "message", "rows"])


class Plot:
    """`plot(frame, x=…, y=…)` draws any two columns; its methods are the figures of the house.

    Every one returns a matplotlib figure. axes: draw there instead, one for each panel. title:
    instead of the figure's own. width: inches, or `column`, `text`, `page`, `slide`.
    """

    def __call__(
        self,
        frame: pd.DataFrame,
        *,
        x: str,
        y: str,
        hue: str | None = None,
        col: str | None = None,
        baseline: str | None = None,
        **options: Any,
    ) -> Figure:
        """Draw y against x: a line for each value of `hue`, a panel for each of `col`.

        Whiskers are the intervals of y where it has any. baseline="recompute": y becomes its
        paired comparison, the increase of a perplexity in percent or a speedup. Raises `UsageError`
        where a line would join what is not comparable, or a point would stand for several results.
        """
        wanted = chart.Encoding(x=x, y=y, hue=hue, col=col, baseline=baseline)
        rows = _plain(frame)
        points = chart.select_points(rows, wanted, _blocks(frame, shown.block_rows(rows)))
        return _chart(points, **options)

    def main_comparison(self, frame: pd.DataFrame, **options: Any) -> Figure:
        """Recompute and StreamingLLM side by side: perplexity, runtime, speedup, compression."""
        return _family("main_comparison", frame, **options)

    def ablation_window_size(self, frame: pd.DataFrame, **options: Any) -> Figure:
        """Perplexity, compression and runtime against the size of the window."""
        return _family("ablation_window_size", frame, **options)

    def ablation_n_sink(self, frame: pd.DataFrame, **options: Any) -> Figure:
        """The same against the number of sinks."""
        return _family("ablation_n_sink", frame, **options)

    def results_summary(self, frame: pd.DataFrame, **options: Any) -> Figure:
        """The numbers of one configuration, for each text and method."""
        return _family("results_summary", frame, **options)

    def perplexity_over_position(self, frame: pd.DataFrame, **options: Any) -> Figure:
        """Each method along the text."""
        return _family("perplexity_over_position", frame, **options)

    def latency_memory(self, frame: pd.DataFrame, **options: Any) -> Figure:
        """Time per token and memory against the size of the cache."""
        return _family("latency_memory", frame, **options)

    def pareto(self, frame: pd.DataFrame, **options: Any) -> Figure:
        """Perplexity against time per token."""
        return _family("pareto", frame, **options)

    def attention_sinks(self, frame: pd.DataFrame, **options: Any) -> Figure:
        """Where every head's attention goes, from rows that measured it."""
        return _family("attention_sinks", frame, **options)


plot = Plot()


def _family(
    name: str,
    frame: pd.DataFrame,
    *,
    axes: Where = None,
    title: str | None = None,
    width: float | str | None = None,
) -> Figure:
    """Draw a figure of the house. Raises `MissingRowsError` if the frame lacks its rows."""
    store, stride = frame.attrs.get(STORE, "results"), frame.attrs.get(STRIDE, 1)
    selection = comparable.choose(_plain(frame), store=store, stride=stride)
    family = registry.FAMILIES[name]
    if title is not None:
        drawn = family.page
        family = replace(family, page=lambda *given: replace(drawn(*given), title=title))
    data = family.select(selection)
    found, look = _blocks(frame, data.block_rows), _look(width)
    if axes is None:
        return family.draw(data, found, look)
    with look.drawing():
        page = family.page(data, found, look)
        panels = [panel for _, group in page.groups for panel in group]
        return _on(_several(axes, [panel.title for panel in panels]), panels, title)


def _on(axes: Sequence[Axes], panels: Sequence[Panel], title: str | None) -> Figure:
    """Draw panels on axes of the caller, whose layout is the caller's too."""
    later = Later()
    for one, panel in zip(axes, panels, strict=True):
        panel.draw(one, later)
        one.set_title(panel.title, parse_math=False)
    entries = [one.get_legend_handles_labels() for one in axes]
    found = {label: handle for pair in entries for handle, label in zip(*pair, strict=True)}
    if found:
        axes[0].legend(list(found.values()), list(found), fontsize="small")
    for step in (*later.names, *later.labels):
        step()
    return _owner(axes[0], title)


def _chart(
    points: chart.Points,
    *,
    axes: Where = None,
    title: str | None = None,
    width: float | str | None = None,
) -> Figure:
    look = _look(width)
    names = [str(value) for value, _ in chart.panels(points)]
    with look.drawing():
        if axes is None:
            height = 0.62 * look.inches / max(len(names), 1) + 0.6
            figure = Figure((look.inches, max(height, 2.2)), layout="constrained")
            FigureCanvasAgg(figure)
            axes = figure.subplots(1, len(names), squeeze=False)[0].tolist()
        places = _several(axes, names)
        chart.draw_points(points, places, look)
    return _owner(places[0], title)


def _several(axes: Where, panels: Sequence[str]) -> list[Axes]:
    """Return the axes as a list. Raises `UsageError` if they are not one for each panel."""
    given: list[Axes] = np.ravel(np.asarray(axes, dtype=object)).tolist()
    if len(given) != len(panels):
        names = ", ".join(map(repr, panels))
        raise UsageError(f"axes: {len(panels)} are needed ({names}), got {len(given)}")
    return given


def _owner(axes: Axes, title: str | None) -> Figure:
    figure = axes.get_figure(root=True)
    assert figure is not None
    if title is not None:
        figure.suptitle(title, parse_math=False)
    return figure


def _look(width: float | str | None) -> Look:
    return Look() if width is None else Look(width=parse_width(str(width)))


def _blocks(frame: pd.DataFrame, row_ids: Sequence[str]) -> blocks.Blocks:
    """Return blocks from the store that the frame was loaded from; none of another frame."""
    uri = frame.attrs.get(STORE)
    return {} if uri is None else blocks.read(Store(uri), row_ids)


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Undo the types that `load` gives to counts and flags: what the figures were written for."""
    counts = {name: "float64" for name, kind in frame.dtypes.items() if str(kind) == "Int64"}
    flags = {name: object for name, kind in frame.dtypes.items() if str(kind) == "boolean"}
    plain = frame.astype({**counts, **flags})
    return plain.assign(hollow=frame["hollow"].fillna(False).astype(bool)).reset_index(drop=True)
