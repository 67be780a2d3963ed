"""Any two columns of a frame against each other, with intervals, under the rules of the house.

What the fixed figures guarantee holds here as well: a line joins only what is comparable, a
point is one result and never a mean over different things, what cannot be used or says nothing of
streaming is hollow and on no line, and a comparison with a baseline is the paired one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis.drawing.axes import log_ticks
from analysis.drawing.numbers import plain
from analysis.drawing.style import Look
from analysis.rows.blocks import Blocks, difference
from analysis.rows.pairing import PLACE_KEYS, TEXT_KEYS, TIMING_KEYS, with_keys
from orchestrator.errors import UsageError
from orchestrator.grid.shape import did_you_mean

MARKERS = "osD^vPX*<>"
KEY_NAMES = {"model_key": "model", "dataset_key": "dataset", "origin": "sweep", "seed_key": "seed"}
"""Keys that are made of a column, and the column to name to a user."""
FOLLOWS = {
    "dataset": ("dataset_key", "dataset_revision", "split", "max_documents", "max_tokens"),
    "model": ("model_key", "model_revision"),
    "device_name": PLACE_KEYS,
    "sweep": ("origin",),
    "source": ("origin",),
    "method": ("method_label", "recompute_stride"),
    "method_label": ("method", "recompute_stride"),
}
"""What goes with a column that is an axis, a hue or a facet."""
LOG_ABOVE = 20.0
NAN = float("nan")


@dataclass(frozen=True)
class Measure:
    """A column that can be drawn: its bounds, what spoils it, what it is compared by."""

    label: str
    low: str | None = None
    high: str | None = None
    kind: str = ""
    """`quality` or `speed`: which rules spoil it and what must agree."""
    relative: str | None = None
    """The measure that compares it with the paired baseline."""
    factor: float = 1.0


MEASURES: Mapping[str, Measure] = {
    "perplexity": Measure(
        "perplexity", "perplexity_low", "perplexity_high", "quality", "perplexity_increase"
    ),
    "bits_per_byte": Measure("bits per byte", kind="quality"),
    "perplexity_increase": Measure(
        "perplexity increase (%)", "increase_low", "increase_high", "quality", factor=100
    ),
    "runtime_ms": Measure(
        "runtime (ms)", "runtime_ms_min", "runtime_ms_max", "speed", relative="speedup"
    ),
    "latency_ms_mean": Measure("latency (ms per token)", kind="speed", relative="speedup"),
    "latency_ms_p50": Measure("median latency (ms per token)", kind="speed", relative="speedup"),
    "latency_ms_p90": Measure("90th percentile of latency (ms)", kind="speed"),
    "tokens_per_second": Measure("tokens per second", kind="speed", relative="speedup"),
    "speedup": Measure("speedup (times)", "speedup_low", "speedup_high", "speed"),
    "compression_ratio": Measure("compression (%)", factor=100),
    "window_size": Measure("window size (tokens)"),
    "budget": Measure("cache size (tokens)"),
    "n_sink": Measure("number of sinks"),
}
BASELINES = ("recompute",)


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """What to draw against what."""

    x: str
    y: str
    hue: str | None = None
    """Column whose values are told apart by colour and marker, each a line."""
    col: str | None = None
    """Column whose values have a panel each."""
    baseline: str | None = None
    """`recompute`: y is the paired comparison with the recompute row of the same budget."""

    @property
    def groups(self) -> list[str]:
        """The columns that make a line."""
        return [name for name in (self.col, self.hue) if name]


@dataclass(frozen=True)
class Points:
    """The points of a chart: the frame's rows, with `x`, `y`, `low`, `high` and `hollow_why`."""

    chart: Encoding
    rows: pd.DataFrame
    label: str
    left_out: int
    """Rows without a value, or without a comparable baseline."""


def select_points(frame: pd.DataFrame, chart: Encoding, blocks: Blocks) -> Points:
    """Return the points of a chart.

    Raises `UsageError` for a column that is not there, a value that cannot be compared with the
    baseline, and for lines that would join, or points that would hide, what is not comparable.
    """
    name = _drawn_column(frame, chart)
    measure = MEASURES.get(name, Measure(name))
    if name == "perplexity_increase":  # with the intervals of those whose blocks were read
        records = frame.to_dict("records")
        found = [difference(blocks, row["row_id"], row["quality_partner"]) for row in records]
        lows, highs = ([getattr(one, side, NAN) for one in found] for side in ("low", "high"))
        frame = frame.assign(increase_low=lows, increase_high=highs)
    if not pd.api.types.is_numeric_dtype(frame[name]):
        raise UsageError(f"y={name!r} is not a number; choose one of {', '.join(MEASURES)}")
    rows = frame[frame[name].notna() & frame[chart.x].notna()]
    if name == "perplexity":  # that of a sample of the blocks is not the text's
        rows = rows[rows["recompute_blocks"].isna()]
    bounds = {
        side: measure.factor * rows[column] if column else NAN
        for side, column in (("low", measure.low), ("high", measure.high))
    }
    why = rows["hollow"].map({True: "never evicted, or beyond the trained length", False: ""})
    if measure.kind:
        spoilt = rows[f"{measure.kind}_unusable"]
        why = why.where(spoilt.isna(), "cannot be used: " + spoilt.astype(str))
    rows = rows.assign(x=rows[chart.x], y=measure.factor * rows[name], **bounds, hollow_why=why)
    _refuse_mixtures(rows, chart, measure)
    return Points(chart, rows.sort_values("x"), measure.label, len(frame) - len(rows))


def draw_points(points: Points, axes: Sequence[Axes], look: Look) -> None:
    """Draw one panel for each value of `col`, in order."""
    chart = points.chart
    hues = sorted(points.rows[chart.hue].dropna().unique(), key=str) if chart.hue else [None]
    colors = [*look.colors.values()]
    for one, (value, part) in zip(axes, panels(points), strict=True):
        for number, hue in enumerate(hues):
            rows = part if hue is None else part[part[chart.hue].eq(hue)]
            color, marker = colors[number % len(colors)], MARKERS[number % len(MARKERS)]
            solid, empty = rows[rows["hollow_why"].eq("")], rows[rows["hollow_why"].ne("")]
            whole = rows[rows["low"].notna() & rows["high"].notna()]
            low, high = whole["low"], whole["high"]
            one.vlines(whole["x"], low, high, color=color, linewidth=1.2, alpha=0.7)
            label = None if hue is None else str(hue)
            (line,) = one.plot(solid["x"], solid["y"], marker=marker, color=color, label=label)
            line.set_linestyle("-" if pd.api.types.is_numeric_dtype(rows["x"]) else "none")
            one.plot(empty["x"], empty["y"], marker, color=color, markerfacecolor="white")
        one.set_xlabel(MEASURES.get(chart.x, Measure(chart.x)).label)
        one.set_ylabel(points.label)
        one.set_title("" if value is None else f"{chart.col} = {value}", parse_math=False)
        _scale(one, part, chart)
        _legend(one, points, part)


def panels(points: Points) -> list[tuple[object, pd.DataFrame]]:
    """Return the values of `col` with their rows; one panel of everything without it."""
    col = points.chart.col
    if col is None:
        return [(None, points.rows)]
    values = sorted(points.rows[col].dropna().unique(), key=str)
    return [(value, points.rows[points.rows[col].eq(value)]) for value in values]


def _drawn_column(frame: pd.DataFrame, chart: Encoding) -> str:
    """Return the column that is drawn: y, or its comparison with the baseline."""
    for role in ("x", "y", "hue", "col"):
        name = getattr(chart, role)
        if name is not None and name not in frame.columns:
            columns = [str(column) for column in frame.columns]
            raise UsageError(f"{role}={name!r}: no such column{did_you_mean(name, columns)}")
    if chart.baseline is None:
        return chart.y
    relative = MEASURES[chart.y].relative if chart.y in MEASURES else None
    if chart.baseline not in BASELINES:
        raise UsageError(f"baseline must be {' or '.join(BASELINES)}, got {chart.baseline!r}")
    if relative is None:
        able = ", ".join(name for name, one in MEASURES.items() if one.relative)
        raise UsageError(f"y={chart.y!r} has no paired comparison; {able} have")
    return relative


def _refuse_mixtures(rows: pd.DataFrame, chart: Encoding, measure: Measure) -> None:
    """Refuse two results at one point, and a line through results that are not comparable."""
    told = [chart.x, *chart.groups]
    free = {*told, *(key for name in told for key in FOLLOWS.get(name, ()))}
    keys = ["method_label", *TEXT_KEYS] if measure.kind else ["method_label"]
    keys += [*PLACE_KEYS, *TIMING_KEYS] if measure.kind == "speed" else []
    keyed = with_keys(rows)
    watched = [key for key in keys if key not in free and KEY_NAMES.get(key, key) not in free]
    for _, part in keyed.groupby(told, dropna=False):
        if len(part) > 1:
            differing = _differing(part, [*watched, "n_sink", "window_size", "device_name"])
            _refuse(f"{len(part)} results stand at one point", differing or ["run_id"])
    if not pd.api.types.is_numeric_dtype(rows[chart.x]):
        return  # names are not joined by a line
    lines = keyed.groupby(chart.groups, dropna=False) if chart.groups else [((), keyed)]
    for _, part in lines:
        if differing := _differing(part, watched):
            _refuse("a line would join results that are not comparable", differing)


def _differing(rows: pd.DataFrame, keys: Sequence[str]) -> list[str]:
    found = [key for key in keys if rows[key].nunique(dropna=False) > 1]
    return list(dict.fromkeys(KEY_NAMES.get(key, key) for key in found))


def _refuse(what: str, differing: Sequence[str]) -> None:
    first = differing[0]
    raise UsageError(
        f"{what}: they differ in {', '.join(differing)}; tell them apart with hue={first!r} or "
        f"col={first!r}, or keep one: frame[frame[{first!r}] == ...]"
    )


def _scale(axes: Axes, rows: pd.DataFrame, chart: Encoding) -> None:
    """Use logarithms where values span decades, and 0 as the foot of times."""
    x, y = rows["x"], rows["y"]
    if pd.api.types.is_numeric_dtype(x) and len(x) and x.min() > 0 and x.max() / x.min() >= 8:
        axes.set_xscale("log", base=2)
        ticks = sorted(set(x))
        axes.set_xticks(ticks, [plain(tick) for tick in ticks])
        axes.minorticks_off()
    if len(y) and y.min() > 0 and y.max() / y.min() > LOG_ABOVE:
        axes.set_yscale("log")
        log_ticks(axes.yaxis)
    elif MEASURES.get(chart.y, Measure("")).kind == "speed":
        axes.set_ylim(bottom=0)


def _legend(axes: Axes, points: Points, rows: pd.DataFrame) -> None:
    """Name the lines, and say there what is hollow, reported or left out."""
    handles, labels = axes.get_legend_handles_labels()
    for why, part in rows[rows["hollow_why"].ne("")].groupby("hollow_why"):
        dot = Line2D([], [], marker="o", color="#6C757D", markerfacecolor="white", linestyle="none")
        handles, labels = [*handles, dot], [*labels, f"{why} ({len(part)})"]
    notes = ["as reported, not measured here"] if rows["source"].eq("imported").any() else []
    notes += [f"without a value: {points.left_out}"] if points.left_out else []
    handles += [Line2D([], [], linestyle="none") for _ in notes]
    if handles:
        if axes.get_yscale() == "linear":  # room for the legend above the highest whisker
            low, high = axes.get_ylim()
            axes.set_ylim(low, high + 0.09 * len(handles) * (high - low))
        legend = axes.legend(handles, [*labels, *notes], fontsize="small", frameon=False)
        for text in legend.get_texts():
            text.set_parse_math(False)
