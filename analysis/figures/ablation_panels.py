"""The panels of an ablation, drawn from its rows: perplexity, compression, runtime."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.drawing import captions, numbers
from analysis.drawing.axes import Steps, linear_ticks, log_ticks, thin
from analysis.drawing.page import fonts
from analysis.drawing.page.labels import Label, place_labels
from analysis.drawing.page.panels import Later, Page, Panel, note
from analysis.drawing.points import all_fit, mark, points, whiskered
from analysis.drawing.style import Look
from analysis.figures.ablation import Ablation, other_texts
from analysis.rows import published
from analysis.rows.blocks import Blocks, Lead, difference, lead, with_intervals
from analysis.rows.frames import is_missing
from analysis.rows.intervals import Interval

LOG_ABOVE = 5.0
"""Perplexities whose largest exceeds the smallest by this factor are drawn in log scale."""
HEIGHTS = (1.0, 0.34, 0.8)
LOW = 0.4
"""A share whose bar has no room for its number."""
PERPLEXITY = ("perplexity", "perplexity_low", "perplexity_high")
RUNTIME = ("runtime_ms", "runtime_ms_min", "runtime_ms_max")


def page(data: Ablation, blocks: Blocks, look: Look) -> Page:
    """Return perplexity above, compression below it, runtime at the foot."""
    fixed = captions.held(data.fixed, data.fixed_value, look)
    key = "window_title" if data.varied == "window_size" else "sink_title"
    data = replace(data, rows=with_intervals(data.rows, blocks))
    title = look.text(key, fixed=fixed, dataset=captions.dataset_name(data.dataset))
    steps = Steps(tuple(int(v) for v in data.rows[data.varied]), look.text(f"{data.varied}_axis"))
    drawn = _Drawn(data, steps, _lead(data, blocks), _to_best(data, blocks), look)
    panels = [
        Panel(look.text("panel_perplexity"), drawn.quality, HEIGHTS[0]),
        Panel(look.text("panel_compression_b"), drawn.compression, HEIGHTS[1]),
        Panel(captions.runtime_title(data.selection, look, "(c)"), drawn.runtime, HEIGHTS[2]),
    ]
    caption, provided = _caption(drawn), (look.text("best_note"), look.text("strip_note"))
    said = [one for one in provided if one in caption]
    return Page(title, caption, [("", panels)], provided=said)


@dataclass(frozen=True)
class _Drawn:
    """The rows of an ablation with their places on the axis."""

    data: Ablation
    steps: Steps
    leading: Lead | None
    """Who has the lowest perplexity of at least two."""
    to_best: Mapping[str, Interval]
    """By row id, the paired differences to the lowest perplexity."""
    look: Look

    @cached_property
    def rows(self) -> pd.DataFrame:
        """The rows with their places, in a column `x`."""
        return self.data.rows.assign(x=[self.steps.at(v) for v in self.data.rows[self.data.varied]])

    @cached_property
    def everything(self) -> pd.DataFrame:
        """All rows of the group, by their id."""
        return self.data.selection.rows.drop_duplicates("row_id").set_index("row_id")

    @property
    def baseline_name(self) -> str:
        """What the baseline's curves are called."""
        partners = pd.concat([self.rows["quality_partner"], self.rows["speed_partner"]]).unique()
        baseline = self.everything.reindex(partners)
        return captions.baseline_name(self.data.selection, baseline, self.look)

    def quality(self, axes: Axes, later: Later) -> None:
        """Perplexity with its whiskers, the baseline's likewise; the axis spans the data."""
        look, rows = self.look, self.rows[self.rows["perplexity"].notna()]
        if rows.empty:
            note(axes, look.text("not_measured"), look)
            return
        self.steps.place(axes)
        baseline = self._baseline(rows, "quality_partner", PERPLEXITY)
        known = _published(self.data, self.steps) if look.published else {}
        parts = [rows[list(PERPLEXITY)], baseline[["value", "low", "high"]]]
        _span(axes, parts, list(known.values()), look, lines=3 if self.to_best else 1)
        whiskered(axes, baseline, "recompute", self.baseline_name, look)
        points(axes, rows, PERPLEXITY, captions.hollow(rows, "quality"), look)
        # A red star on the lowest perplexity, or on all in a tie for it; a red X on n_sink = 0.
        leading = self.leading
        if leading is not None and leading.is_known and not look.prefix:
            best = rows[rows["row_id"].isin([leading.best, *leading.tied])]
            left_out = bool((rows["perplexity"] < best["perplexity"].min()).any())
            some_filled = bool((~captions.hollow(rows, "quality")).any())
            key = "best_filled" if left_out and some_filled else "best"
            key = key if leading.is_alone else "tied"
            mark(axes, best, "*", 2.2, look.text(key), look, filled=leading.is_alone)
        if self.data.varied == "n_sink":
            mark(axes, rows[rows["n_sink"].eq(0)], "X", 1.6, look.text("no_sink"), look)
        if known:
            (dots,) = axes.plot(list(known), list(known.values()), "x", label=look.name("paper"))
            dots.set(color=look.colors["accent"], markeredgewidth=1.6, zorder=5)
        later.names.append(lambda: thin(axes, look))
        later.labels.append(lambda: self._quality_labels(axes, rows, later))

    def compression(self, axes: Axes, later: Later) -> None:
        """The compression ratio on an axis of its own, so that no line meets it."""
        look, rows = self.look, self.rows[self.rows["compression_ratio"].notna()]
        if rows.empty:
            note(axes, look.text("not_measured"), look)
            return
        self.steps.place(axes)
        axes.set_xlabel("")
        places = sorted(self.rows["x"])
        width = 0.72 * min(np.diff(places).min() if len(places) > 1 else 1.0, 1.0)
        share, color = 100 * rows["compression_ratio"], look.colors["neutral"]
        if look.prefix:  # one of several hues: bars would hide each other
            axes.plot(rows["x"], share, "o-", color=color, clip_on=False)  # whole, also at 100
        else:
            axes.bar(rows["x"], share, width, color=color, alpha=0.85)
        axes.set_ylim(0, 100)
        axes.set_yticks([0, 100])
        axes.set_ylabel(look.text("percent"))
        later.names.append(lambda: thin(axes, look))
        later.labels.append(lambda: _write_shares(axes, rows, width, look))

    def runtime(self, axes: Axes, later: Later) -> None:
        """The runtime, from 0, so that noise between repeats cannot look like an effect."""
        look, rows = self.look, self.rows[self.rows["runtime_ms"].notna()]
        if rows.empty:
            note(axes, look.text("not_measured"), look)
            return
        self.steps.place(axes)
        axes.set_ylabel(look.text("runtime"))
        baseline = self._baseline(rows, "speed_partner", RUNTIME)
        ends = pd.concat(
            [rows["runtime_ms_max"], rows["runtime_ms"], *(baseline[c] for c in ("value", "high"))]
        )
        axes.set_ylim(0, float(ends[np.isfinite(ends)].max()) * 1.3)
        linear_ticks(axes.yaxis, 4)
        whiskered(axes, baseline, "recompute", self.baseline_name, look)
        points(axes, rows, RUNTIME, captions.hollow(rows, "speed"), look)
        labels = []
        for x, y, speedup in zip(rows["x"], rows["runtime_ms"], rows["speedup"], strict=True):
            times = "" if is_missing(speedup) else f"\n{numbers.times(speedup)}"
            text = numbers.milliseconds(y) + times
            labels.append(Label(x, y, text, look.colors["streaming"]))
        labels += [
            Label(x, y, numbers.milliseconds(y), look.colors["baseline"])
            for x, y in zip(baseline["x"], baseline["value"], strict=True)
        ]
        later.names.append(lambda: thin(axes, look))

        def write() -> None:
            if place_labels(axes, labels, look):
                later.shown.add(look.text("strip_note"))

        later.labels.append(write)

    def _baseline(self, rows: pd.DataFrame, partner: str, columns: tuple[str, ...]) -> pd.DataFrame:
        """Return x, value, low and high of the paired baselines, null where not recorded."""
        known = rows[rows[partner].notna()]
        column = {"quality_partner": "baseline_perplexity", "speed_partner": "baseline_runtime_ms"}
        bounds = self.everything.reindex(known[partner])[list(columns[1:])].to_numpy(copy=True)
        if partner == "quality_partner":  # the bounds of a sample are not those of the text
            bounds[known["baseline_blocks"].notna()] = None
        return pd.DataFrame(
            {
                "x": known["x"].to_numpy(),
                "value": known[column[partner]].to_numpy(dtype=float),
                "low": bounds[:, 0].astype(float),
                "high": bounds[:, 1].astype(float),
            }
        )

    def _quality_labels(self, axes: Axes, rows: pd.DataFrame, later: Later) -> None:
        """Write values and differences at the top where all have room, else values alone."""
        every = rows.to_dict("records")
        whole = [self._quality_label(row, with_interval=True) for row in every]
        short = [
            self._quality_label(row, with_interval=False)
            for row in every
            if np.isfinite(row["perplexity"])  # an infinite one has its mark
        ]
        paired = any("\n" in label.text for label in whole)  # else values stand at their points
        before = list(axes.texts)
        if paired and all_fit(axes, whole, self.look):
            if place_labels(axes, whole, self.look) == len(whole):
                later.shown.add(self.look.text("best_note"))
                return
            for text in [text for text in axes.texts if text not in before]:
                text.remove()  # a whisker is in the way: some with a difference, some without, no
        place_labels(axes, short, self.look)

    def _quality_label(self, row: dict[Any, Any], *, with_interval: bool) -> Label:
        value = numbers.perplexity_text(row["perplexity"])
        interval = self.to_best.get(row["row_id"]) if with_interval else None
        text = (
            f"{value}\n{numbers.increase_text(interval)}".replace(" [", "\n[")
            if interval
            else value
        )
        return Label(row["x"], row["perplexity"], text, self.look.ground.ink, at_top=with_interval)


def _write_shares(axes: Axes, rows: pd.DataFrame, width: float, look: Look) -> None:
    """Write each share into its bar, above a low one; without the unit where bars are narrow."""
    shares = [numbers.share(value) for value in rows["compression_ratio"]]
    low, high = axes.get_xlim()
    room = width / (high - low) * axes.get_position().width * look.inches
    for texts in (shares, [share.removesuffix(" %") for share in shares]):
        if max(fonts.width(text, look.type.value) for text in texts) > room:
            continue
        for x, value, text in zip(rows["x"], rows["compression_ratio"], texts, strict=True):
            is_tall = value > LOW
            place = min(50, 50 * value + 8) if is_tall else 100 * value + 6
            written = axes.text(x, place, text, ha="center")
            written.set(va="center" if is_tall else "bottom", fontsize=look.type.value)
            written.set_color(look.ground.panel if is_tall else look.ground.ink)
        return


def _lead(data: Ablation, blocks: Blocks) -> Lead | None:
    """Return who has the lowest perplexity of at least two."""
    candidates = data.candidates
    values = dict(zip(candidates["row_id"], candidates["perplexity"], strict=True))
    return lead(values, blocks) if len(values) > 1 else None


def _to_best(data: Ablation, blocks: Blocks) -> dict[str, Interval]:
    """Return, by row id, the paired differences to the best row, of those that have one."""
    best = None if data.best is None else data.best["row_id"]
    others = [row_id for row_id in data.rows["row_id"] if best is not None and row_id != best]
    found = {row_id: difference(blocks, row_id, best) for row_id in others}
    return {row_id: one for row_id, one in found.items() if one is not None}


def _span(
    axes: Axes, parts: list[pd.DataFrame], others: list[float], look: Look, *, lines: int
) -> None:
    """Let the axis span what is drawn, with room for the lines of the labels above."""
    found = np.concatenate([part.to_numpy(dtype=float).ravel() for part in parts])
    every = np.append(found, others)
    every = every[np.isfinite(every) & (every > 0)]
    low, high = (float(every.min()), float(every.max())) if len(every) else (1.0, 1.0)
    head = (0.5 if look.type.panel_height > 2 else 0.42) if lines > 1 else 0.22
    if high / low > LOG_ABOVE:
        span = np.log10(high / low)
        axes.set_yscale("log")
        axes.set_ylim(low / 10 ** (span * 0.08), high * 10 ** (span * head))
        axes.set_ylabel(look.text("perplexity_log"))
        log_ticks(axes.yaxis)
    else:
        span = max(high - low, 0.02 * high)
        axes.set_ylim(low - 0.1 * span, high + head * span)
        axes.set_ylabel(look.text("perplexity"))
        linear_ticks(axes.yaxis)


def _published(data: Ablation, steps: Steps) -> dict[float, float]:
    """Return published perplexities by position, for the same fixed setting and model."""
    model = str(data.selection.setting["model"])
    rows = published.perplexities(model, "streaming", data.dataset)
    rows = [row | {"budget": row["n_sink"] + row["window_size"]} for row in rows]
    values = set(steps.values)
    return {
        steps.at(row[data.varied]): row["perplexity"]
        for row in rows
        if row[data.fixed] == data.fixed_value and row[data.varied] in values
    }


def _caption(drawn: _Drawn) -> list[str]:
    data, look = drawn.data, drawn.look
    selection, rows = data.selection, data.rows
    values = rows[data.varied].astype(int)
    names = values.map(lambda value: captions.held(data.varied, value, look))
    parts = [*captions.setting(selection, look), *captions.intervals(rows, look)]
    if drawn.to_best:
        parts.append(look.text("best_note"))
    if drawn.leading is not None and not drawn.leading.is_alone:
        parts.append(look.text("tie_note" if drawn.leading.is_known else "no_lead_note"))
    increases = rows["perplexity_increase"].dropna()
    if len(increases):
        low, high = (numbers.percent(v, signed=True) for v in (increases.min(), increases.max()))
        key = "recompute_note" if low != high else "recompute_note_one"
        parts.append(look.text(key, low=low, high=high))
    parts += captions.sampled_baseline(rows, "sampled_curve", look)
    if rows["runtime_ms"].notna().any():
        parts += captions.runtime(selection, look)
    if rows["speedup"].notna().any():
        parts.append(look.text("strip_note"))
    parts += captions.flags(rows, names, look)
    if look.published and _published(data, drawn.steps):
        parts.append(captions.citation(look))
    if data.other_datasets:
        parts.append(look.text("other_dataset", names=other_texts(data)))
    return parts + captions.left_out(selection, look)
