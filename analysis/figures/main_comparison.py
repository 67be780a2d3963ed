"""`main_comparison`: recompute and StreamingLLM side by side, on every text.

Four panels: perplexity, runtime, speedup, compression. A bar that was not measured is absent.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pandas as pd
from matplotlib.axes import Axes

from analysis.drawing import bars, captions, numbers
from analysis.drawing.page.panels import Later, Page, Panel
from analysis.drawing.style import Look
from analysis.rows import headline
from analysis.rows.blocks import Blocks, difference, on_same_tokens, with_intervals
from analysis.rows.frames import is_missing
from analysis.rows.headline import Headline

HATCH = "////"
EMPTY = 0.35
"""Height of a panel that only says that there is nothing."""
COLUMNS = 2
ROWS_SIDE_BY_SIDE = 6.5
"""Inches from which two panels of rows, with their names and numbers, stand side by side."""
FOUR_SIDE_BY_SIDE = 5.0
"""And all four, where facets have rows in one order, their names at the left."""

select = headline.select_headline


def page(data: Headline, blocks: Blocks, look: Look) -> Page:
    """Return the four panels; `blocks` holds what the intervals need."""
    data = replace(
        data,
        streaming=on_same_tokens(data.streaming, blocks),
        baseline=with_intervals(data.baseline, blocks),
    )
    names = [captions.dataset_name(name) for name in data.datasets]
    charts = {
        look.text("panel_perplexity"): _perplexity(data, blocks, names, look),
        captions.runtime_title(data.selection, look, "(b)"): _runtime(data, names, look),
        look.text("panel_speedup"): _speedup(data, names, look),
        look.text("panel_compression"): _compression(data, names, look),
    }
    several = look.facets > 1
    as_bars = not several and bars.as_bars(list(charts.values()), look, COLUMNS)
    columns = COLUMNS if as_bars or several or look.inches >= ROWS_SIDE_BY_SIDE else 1
    if several and look.inches >= FOUR_SIDE_BY_SIDE:
        columns = len(charts)
    order = bars.by_value(next(iter(charts.values()))) if several else ()
    panels = []
    for number, (title, chart) in enumerate(charts.items()):
        among = bars.Rows(columns, order, is_named=not several or number % columns == 0)
        draw = bars.bars if as_bars else partial(bars.rows, among=among)
        height = None if as_bars else bars.rows_height(chart, look, among)
        known = any(one.values.notna().any() for one in chart.series)
        share = 1.0 if known else EMPTY
        panels.append(Panel(title, partial(_draw, chart, draw, look), share, inches=height))
    sinks = captions.held("n_sink", data.n_sink, look)
    window = captions.held("window_size", data.window_size, look)
    title = look.text("comparison_title", sinks=sinks, window=window)
    caption = _caption(data, blocks, look)
    return Page(title, caption, [("", panels)], columns, stacked=True, names=names)


def _draw(
    chart: bars.Chart, draw: Callable[..., None], look: Look, axes: Axes, later: Later
) -> None:
    draw(axes, chart, look, later)
    if chart.label == look.text("speedup") and chart.series[0].values.notna().any():
        line = axes.axvline if axes.yaxis_inverted() else axes.axhline
        line(1, color=look.ground.ink, linewidth=0.9, linestyle="--", label=look.text("one"))


def _perplexity(data: Headline, blocks: Blocks, names: list[str], look: Look) -> bars.Chart:
    columns = ("perplexity", "perplexity_low", "perplexity_high")
    increases = []
    for row in data.streaming.to_dict("records"):
        if data.selection.is_reported:  # the report says a number and no interval
            increase = row["perplexity_increase"]
            text = "" if is_missing(increase) else numbers.percent(increase, signed=True)
        else:
            interval = difference(blocks, row["row_id"], row["quality_partner"])
            text = numbers.increase_text(interval).replace(" [", "\n[") if interval else ""
        increases.append(text)
    return bars.Chart(
        series=_methods(data, columns, "quality", look),
        names=names,
        write=numbers.perplexity_text,
        absent=look.text("not_measured"),
        label=look.text("perplexity"),
        label_log=look.text("perplexity_log"),
        notes=increases if any(increases) else (),
    )


def _runtime(data: Headline, names: list[str], look: Look) -> bars.Chart:
    columns = ("runtime_ms", "runtime_ms_min", "runtime_ms_max")
    return bars.Chart(
        series=_methods(data, columns, "speed", look),
        names=names,
        write=numbers.milliseconds,
        absent=look.text("not_measured"),
        label=look.text("runtime"),
        label_log=look.text("runtime_log"),
    )


def _speedup(data: Headline, names: list[str], look: Look) -> bars.Chart:
    columns = ("speedup", "speedup_low", "speedup_high")
    series = _series(data.streaming, columns, "speed", "success", look)
    top = pd.concat([series.values, series.high]).max() if series.high is not None else None
    low = top is None or pd.isna(top) or top * 1.18 < 1.25
    return bars.Chart(
        series=[series],
        names=names,
        write=numbers.times,
        absent=look.text("no_pair"),
        label=look.text("speedup"),
        limit=1.25 if low else None,
    )


def _compression(data: Headline, names: list[str], look: Look) -> bars.Chart:
    share = data.streaming.assign(percent=100 * data.streaming["compression_ratio"])
    return bars.Chart(
        series=[_series(share, ("percent",), "cache", "accent", look)],
        names=names,
        write=lambda value: numbers.share(value / 100),
        absent=look.text("not_measured"),
        label=look.text("compression"),
        limit=115,
    )


def _methods(
    data: Headline, columns: tuple[str, ...], measure: str, look: Look
) -> list[bars.Series]:
    make = partial(_series, columns=columns, measure=measure, look=look)
    return [
        make(
            data.baseline,
            color="baseline",
            label=captions.baseline_name(data.selection, data.baseline, look),
        ),
        make(data.streaming, color="streaming", label=look.name("streaming")),
    ]


def _series(
    rows: pd.DataFrame,
    columns: tuple[str, ...],
    measure: str,
    color: str,
    look: Look,
    *,
    label: str = "",
) -> bars.Series:
    value, *bounds = columns
    low, high = (rows[name] for name in bounds) if bounds else (None, None)
    return bars.Series(
        label=label,
        hatch=HATCH if color == "streaming" else "",
        marker="s" if color == "baseline" else "o",
        color=look.colors[color],
        values=rows[value],
        low=low,
        high=high,
        hollow=captions.hollow(rows, measure),
    )


def _caption(data: Headline, blocks: Blocks, look: Look) -> list[str]:
    drawn = data.streaming.assign(method="streaming").reset_index()
    points = drawn["dataset"].map(captions.dataset_name)
    pairs = zip(drawn["row_id"], drawn["quality_partner"], strict=True)
    differences = [difference(blocks, row, partner) for row, partner in pairs]
    every = pd.concat([drawn, data.baseline.reset_index()])
    selection = data.selection
    paired = data.streaming["quality_partner"].notna().any()
    return [
        *captions.setting(selection, look),
        *captions.intervals(every, look),
        *([look.text("paired_note")] if paired and not selection.is_reported else []),
        *captions.sampled_baseline(drawn, "sampled_bars", look),
        *captions.undecided(zip(points, differences, strict=True), look),
        *captions.runtime(selection, look),
        *captions.flags(drawn, points, look),
        *captions.left_out(selection, look),
    ]
