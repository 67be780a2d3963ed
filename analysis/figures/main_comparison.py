"""`main_comparison`: recompute and StreamingLLM side by side, on every text.

Four panels: perplexity, runtime, speedup, compression. A bar that was not measured is absent.
"""

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.drawing import bars, captions, numbers
from analysis.drawing.sheet import legend, sheet
from analysis.drawing.style import Look
from analysis.rows import headline
from analysis.rows.blocks import Blocks, difference
from analysis.rows.comparable import Selection
from analysis.rows.frames import is_missing
from analysis.rows.headline import Headline

SIZE = (10.0, 7.4)
HATCH = "///"

select = headline.choose


def draw(data: Headline, blocks: Blocks, look: Look) -> Figure:
    """Draw the four panels; `blocks` holds what the paired intervals need."""
    title = look.text("comparison_title", n_sink=data.n_sink, window_size=data.window_size)
    page = sheet(look, title=title, caption=_caption(data, look), size=SIZE, panels=(2, 2))
    perplexity, runtime, speedup, compression = page.axes
    _perplexity(perplexity, data, blocks, look)
    _runtime(runtime, data, look)
    _speedup(speedup, data, look)
    _compression(compression, data, look)
    legend(page)
    return page.figure


def _perplexity(axes: Axes, data: Headline, blocks: Blocks, look: Look) -> None:
    names = [
        captions.dataset_name(name) + _increase(row, blocks, data.selection)
        for name, row in zip(data.datasets, data.streaming.to_dict("records"), strict=True)
    ]
    columns = ("perplexity", "perplexity_low", "perplexity_high")
    bars.draw(axes, _methods(data, columns, look), names, numbers.perplexity)
    axes.set_title(look.text("panel_perplexity"))
    bars.axis_label(axes, look, "perplexity")


def _runtime(axes: Axes, data: Headline, look: Look) -> None:
    columns = ("runtime_ms", "runtime_ms_min", "runtime_ms_max")
    bars.draw(axes, _methods(data, columns, look), _names(data), numbers.milliseconds)
    tokens = data.selection.setting["decode_tokens"]
    key = "panel_runtime" if tokens else "panel_runtime_plain"
    axes.set_title(look.text(key, tokens=tokens))
    bars.axis_label(axes, look, "runtime")


def _speedup(axes: Axes, data: Headline, look: Look) -> None:
    columns = ("speedup", "speedup_low", "speedup_high")
    series = _series(data.streaming, columns, look, "success", absent="no_pair")
    bars.draw(axes, [series], _names(data), numbers.times)
    axes.set_ylim(0, max(axes.get_ylim()[1], 1.25))
    axes.axhline(1, color="#2B2F33", linewidth=1.1, linestyle="--", label=look.text("one"))
    axes.set_title(look.text("panel_speedup"))
    axes.set_ylabel(look.text("speedup"))


def _compression(axes: Axes, data: Headline, look: Look) -> None:
    share = data.streaming.assign(percent=100 * data.streaming["compression_ratio"])
    series = _series(share, ("percent",), look, "accent")
    bars.draw(axes, [series], _names(data), lambda value: numbers.share(value / 100))
    axes.set_ylim(0, 112)
    axes.set_yticks(range(0, 101, 20))
    axes.set_title(look.text("panel_compression"))
    axes.set_ylabel(look.text("compression"))


def _methods(data: Headline, columns: tuple[str, ...], look: Look) -> list[bars.Series]:
    label = captions.baseline_name(data.selection, data.baseline, look)
    ours = look.text("streaming")
    return [
        _series(data.baseline, columns, look, "baseline", label=label),
        _series(data.streaming, columns, look, "streaming", label=ours),
    ]


def _series(
    rows: pd.DataFrame,
    columns: tuple[str, ...],
    look: Look,
    color: str,
    *,
    absent: str = "not_measured",
    label: str = "",
) -> bars.Series:
    value, *bounds = columns
    low, high = (rows[name] for name in bounds) if bounds else (None, None)
    return bars.Series(
        label=label,
        hatch=HATCH if color == "streaming" else "",
        color=look.colors[color],
        values=rows[value],
        low=low,
        high=high,
        hollow=rows["hollow"].astype(object).eq(True),
        absent=look.text(absent),
    )


def _names(data: Headline) -> list[str]:
    return [captions.dataset_name(name) for name in data.datasets]


def _increase(row: Mapping[Hashable, Any], blocks: Blocks, selection: Selection) -> str:
    if selection.is_reported:  # the report says a number and no interval
        increase = row["perplexity_increase"]
        return "" if is_missing(increase) else f"\n{numbers.percent(increase, signed=True)}"
    interval = difference(blocks, row["row_id"], row["quality_partner"])
    return "" if interval is None else "\n" + numbers.increase(interval).replace(" [", "\n[")


def _caption(data: Headline, look: Look) -> list[str]:
    drawn = data.streaming.assign(method="streaming").reset_index()
    points = drawn["dataset"].map(captions.dataset_name)
    selection = data.selection
    return [
        *captions.setting(selection, look),
        *([] if selection.is_reported else [look.text("whiskers"), look.text("paired_note")]),
        *captions.runtime(selection, look),
        *captions.flags(drawn, points, look),
        *captions.left_out(selection, look),
    ]
