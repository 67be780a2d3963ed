"""The figures say what the rows say: bar heights, markers, labels, captions, and no overlaps."""

import math

import matplotlib.colors as colors
import pytest
from matplotlib.figure import Figure

from analysis.drawing import numbers
from analysis.drawing.style import PALETTE, RED, Look
from analysis.errors import MissingRowsError
from analysis.figures import registry
from analysis.names import FIGURES
from analysis.rows import blocks, comparable, frames
from orchestrator.store.store import Store
from tests.support.analysis_layout import Layout
from tests.support.analysis_rows import quickstart, row, table


def choose(rows, **options) -> comparable.Selection:
    return comparable.choose(frames.tidy(table(rows)), **options)


def draw(rows, name: str, look: Look | None = None, **options) -> Figure:
    family, look = registry.FAMILIES[name], look or Look()
    data = family.select(choose(rows, **options))
    with look.drawing():
        return family.draw(data, blocks.from_table(table(rows)), look)


def heights(axes, color: str) -> list[float]:
    """The heights of the bars of a colour, hollow ones included, from left to right."""
    found = [
        patch
        for patch in axes.patches
        if colors.same_color(patch.get_facecolor(), color)
        or (is_white(patch) and colors.same_color(patch.get_edgecolor(), color))
    ]
    return [patch.get_height() for patch in sorted(found, key=lambda patch: patch.get_x())]


def is_white(patch) -> bool:
    return colors.same_color(patch.get_facecolor(), "white")


def labels(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def caption(figure: Figure) -> str:
    (found,) = [text for text in figure.texts if text.get_gid() == "caption"]
    return found.get_text().replace("\n", " ")


def find(rows, **wanted) -> dict:
    (found,) = [one for one in rows if all(one[key] == value for key, value in wanted.items())]
    return found


@pytest.fixture(scope="module")
def rows():
    return quickstart()


def test_the_registry_holds_exactly_the_figures_that_the_command_line_offers():
    assert tuple(registry.FAMILIES) == FIGURES


class TestMainComparison:
    def test_bars_are_as_high_as_the_rows_say(self, rows):
        perplexity, runtime, speedup, compression = draw(rows, "main_comparison").axes
        ours = [find(rows, dataset=d, method="streaming", budget=260) for d in ("pydoc", "stdlib")]
        base = [find(rows, dataset=d, method="recompute", budget=260) for d in ("pydoc", "stdlib")]
        blue, purple = PALETTE["baseline"], PALETTE["streaming"]
        assert heights(perplexity, blue) == [one["perplexity"] for one in base]
        assert heights(perplexity, purple) == [one["perplexity"] for one in ours]
        assert heights(runtime, blue) == [one["runtime_ms"] for one in base]
        assert heights(runtime, purple) == [one["runtime_ms"] for one in ours]
        ratios = [b["runtime_ms"] / o["runtime_ms"] for b, o in zip(base, ours, strict=True)]
        assert heights(speedup, PALETTE["success"]) == ratios
        shares = [100 * one["compression_ratio"] for one in ours]
        assert heights(compression, PALETTE["accent"]) == pytest.approx(shares)

    def test_bars_carry_their_values_and_whiskers_their_intervals(self, rows):
        perplexity = draw(rows, "main_comparison").axes[0]
        ours = find(rows, dataset="pydoc", method="streaming", budget=260)
        assert numbers.perplexity_text(ours["perplexity"]) in labels(perplexity)
        whiskers = [
            path.vertices[:, 1].tolist() for c in perplexity.collections for path in c.get_paths()
        ]
        assert [ours["perplexity_low"], ours["perplexity_high"]] in whiskers

    def test_the_paired_increase_stands_under_each_text_with_its_interval(self, rows):
        axes = draw(rows, "main_comparison").axes[0]
        ours = find(rows, dataset="stdlib", method="streaming", budget=260)
        base = find(rows, dataset="stdlib", method="recompute", budget=260)
        known = blocks.from_table(table(rows))
        interval = blocks.difference(known, ours["row_id"], base["row_id"])
        name, value, bounds = axes.get_xticklabels()[1].get_text().split("\n")
        assert name == "stdlib"
        assert f"{value} {bounds}" == numbers.increase_text(interval)

    def test_the_line_at_one_is_drawn_and_explained(self, rows):
        figure = draw(rows, "main_comparison")
        assert [list(line.get_ydata()) for line in figure.axes[2].get_lines()] == [[1, 1]]
        assert any("1×" in text.get_text() for text in figure.legends[0].get_texts())  # noqa: RUF001

    def test_a_missing_baseline_is_an_absent_bar_that_says_so_and_names_the_command(self, rows):
        gone = find(rows, dataset="stdlib", method="recompute", budget=260)
        kept = [one for one in rows if one is not gone]
        kept = [one for one in kept if one["method"] != "recompute" or one["budget"] == 260]
        figure = draw(kept, "main_comparison")
        assert len(heights(figure.axes[0], PALETTE["baseline"])) == 1
        assert labels(figure.axes[0]).count("not measured") == 1
        assert labels(figure.axes[2]).count("no pair") == 1
        (missing,) = registry.FAMILIES["main_comparison"].select(choose(kept)).missing
        assert "budget 260 for stdlib" in missing.what
        assert '"window_size": 260' in missing.command
        assert "sweep launch --grid missing.yaml --store results" in missing.command

    def test_a_value_that_was_not_measured_is_never_a_bar_of_height_0(self):
        rows = [
            row(method=m, window_size=64, measure=["quality"]) for m in ("recompute", "streaming")
        ]
        figure = draw(rows, "main_comparison")
        assert list(figure.axes[1].patches) == []
        assert labels(figure.axes[1]) == ["not measured"] * 2

    def test_a_configuration_that_never_evicted_is_hollow_and_the_caption_says_so(self):
        rows = [row(method=m, window_size=200, max_tokens=150) for m in ("recompute", "streaming")]
        figure = draw(rows, "main_comparison")
        assert [is_white(patch) for patch in figure.axes[0].patches] == [False, True]
        assert "pydoc never evicted a token" in caption(figure)

    def test_hollow_configurations_are_passed_over_if_another_is_complete(self, rows):
        # 4 + 512 is larger and as complete, but beyond the trained positions.
        data = registry.FAMILIES["main_comparison"].select(choose(rows))
        assert (data.n_sink, data.window_size) == (4, 256)

    def test_huge_differences_are_drawn_in_log_scale_and_labelled_so(self, rows):
        huge = [dict(one) for one in rows]
        ours = find(huge, dataset="pydoc", method="streaming", budget=260)
        ours.update(perplexity=5641.0, perplexity_low=5500.0, perplexity_high=5800.0)
        axes = draw(huge, "main_comparison").axes[0]
        assert axes.get_yscale() == "log"
        assert "log" in axes.get_ylabel()
        assert "5,641" in labels(axes)


class TestAblation:
    def points(self, axes, value: str) -> dict[float, float]:
        """x to y of the streaming markers, hollow ones included."""
        color = PALETTE["streaming"]
        found = [line for line in axes.get_lines() if line.get_marker() == "o"]
        assert all(colors.same_color(line.get_color(), color) for line in found)
        return {
            float(x): float(y)
            for line in found
            for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
        }

    def marks(self, axes, marker: str) -> list[tuple[float, float]]:
        return [
            (float(line.get_xdata()[0]), float(line.get_ydata()[0]))
            for line in axes.get_lines()
            if line.get_marker() == marker and colors.same_color(line.get_color(), RED)
        ]

    def test_window_sizes_stand_at_their_value_on_a_log2_axis(self, rows):
        figure = draw(rows, "ablation_window_size")
        above, _, below = figure.axes
        ours = [
            one
            for one in rows
            if (one["method"], one["dataset"], one["n_sink"]) == ("streaming", "pydoc", 4)
        ]
        assert self.points(above, "perplexity") == {
            math.log2(one["window_size"]): one["perplexity"] for one in ours
        }
        assert self.points(below, "runtime") == {
            math.log2(one["window_size"]): one["runtime_ms"] for one in ours
        }
        assert above.get_xlim() == below.get_xlim()
        ticks = [text.get_text() for text in above.get_xticklabels()]
        assert ticks == ["16", "32", "64", "128", "256", "512"]

    def test_the_best_filled_window_has_the_red_star_and_its_label_says_filled(self, rows):
        figure = draw(rows, "ablation_window_size")
        best = find(rows, dataset="pydoc", method="streaming", n_sink=4, window_size=256)
        assert self.marks(figure.axes[0], "*") == [(8.0, best["perplexity"])]
        names = [text.get_text() for text in figure.legends[0].get_texts()]
        assert "lowest of the filled points" in names

    def test_a_window_beyond_training_is_a_hollow_marker(self, rows):
        figure = draw(rows, "ablation_window_size")
        markers = [line for line in figure.axes[0].get_lines() if line.get_marker() == "o"]
        faces = {
            x: colors.same_color(line.get_markerfacecolor(), "white")
            for line in markers
            for x in line.get_xdata()
        }
        assert faces == {4: False, 5: False, 6: False, 7: False, 8: False, 9: True}
        assert "window 512 beyond the trained 512 positions" in caption(figure)

    def test_no_sink_is_marked_by_a_red_x_and_the_lowest_by_a_star(self, rows):
        above = draw(rows, "ablation_n_sink").axes[0]
        none = find(rows, dataset="pydoc", method="streaming", n_sink=0)
        many = find(rows, dataset="pydoc", method="streaming", n_sink=16)
        assert self.marks(above, "X") == [(0.0, none["perplexity"])]
        assert self.marks(above, "*") == [(math.log2(17), many["perplexity"])]

    def test_compression_has_a_panel_of_its_own_on_the_same_axis(self, rows):
        above, second, _ = draw(rows, "ablation_window_size").axes
        shares = [
            100 * one["compression_ratio"]
            for one in rows
            if (one["method"], one["dataset"], one["n_sink"]) == ("streaming", "pydoc", 4)
        ]
        assert [patch.get_height() for patch in second.patches] == pytest.approx(shares)
        middles = [patch.get_x() + patch.get_width() / 2 for patch in second.patches]
        assert middles == pytest.approx(list(self.points(above, "perplexity")))

    def test_the_axis_of_perplexities_spans_the_data(self, rows):
        low, high = draw(rows, "ablation_window_size").axes[0].get_ylim()
        ours = [r for r in rows if (r["dataset"], r["n_sink"]) == ("pydoc", 4)]
        ours = [r for r in ours if r["method"] == "streaming"]
        least = min(r["perplexity_low"] for r in ours)
        most = max(r["perplexity_high"] for r in ours)
        assert least * 0.5 < low < least
        assert most < high < most * 3

    def test_the_baseline_of_an_ablation_has_whiskers(self, rows):
        axes = draw(rows, "ablation_window_size").axes[0]
        base = [r for r in rows if (r["dataset"], r["method"]) == ("pydoc", "recompute")]
        whiskers = [p.vertices[:, 1].tolist() for c in axes.collections for p in c.get_paths()]
        for one in base:
            assert [one["perplexity_low"], one["perplexity_high"]] in whiskers

    def test_runtime_starts_at_zero_so_that_noise_stays_small(self, rows):
        for name in ("ablation_window_size", "ablation_n_sink"):
            assert draw(rows, name).axes[2].get_ylim()[0] == 0

    def test_every_difference_shown_has_its_paired_interval(self, rows):
        above = draw(rows, "ablation_n_sink").axes[0]
        known = blocks.from_table(table(rows))
        best = find(rows, dataset="pydoc", method="streaming", n_sink=16)
        one = find(rows, dataset="pydoc", method="streaming", n_sink=1)
        interval = blocks.difference(known, one["row_id"], best["row_id"])
        value, bounds = numbers.increase_text(interval).split(" [")
        assert f"{numbers.perplexity_text(one['perplexity'])}\n{value}\n[{bounds}" in labels(above)
        assert sum(text.count("[") for text in labels(above)) == 5

    def test_a_perplexity_explosion_without_sinks_gets_a_log_axis(self, rows):
        wild = [dict(one) for one in rows]
        none = find(wild, dataset="pydoc", method="streaming", n_sink=0)
        none.update(perplexity=3359.95, perplexity_low=3300.0, perplexity_high=3400.0)
        figure = draw(wild, "ablation_n_sink")
        assert figure.axes[0].get_yscale() == "log"
        assert Layout(figure).overlaps() == []

    def test_a_fixed_budget_counts_as_a_sink_ablation(self):
        rows = [
            row(method="streaming", n_sink=sinks, window_size=128 - sinks) for sinks in (0, 1, 2, 4)
        ]
        data = registry.FAMILIES["ablation_n_sink"].select(choose(rows))
        assert (data.fixed, data.fixed_value) == ("budget", 128)
        assert data.rows["n_sink"].tolist() == [0, 1, 2, 4]

    def test_one_value_is_no_ablation_and_the_command_would_make_one(self):
        with pytest.raises(MissingRowsError) as caught:
            draw([row(method="streaming")], "ablation_n_sink")
        assert '"n_sink": [0, 1, 2, 4, 8]' in caught.value.command


class TestSummary:
    def test_the_table_holds_the_numbers_of_the_rows(self, rows):
        written = [
            label.replace("\n", " ") for label in labels(draw(rows, "results_summary").axes[0])
        ]
        ours = find(rows, dataset="pydoc", method="streaming", budget=260)
        base = find(rows, dataset="pydoc", method="recompute", budget=260)
        assert numbers.times(base["runtime_ms"] / ours["runtime_ms"]) in written
        assert f"{ours['n_tokens']:,}" in written
        low, high = (numbers.perplexity_text(ours[f"perplexity_{end}"]) for end in ("low", "high"))
        assert f"{numbers.perplexity_text(ours['perplexity'])} [{low}, {high}]" in written
        assert written.count("StreamingLLM") == written.count("dense") == 2

    def test_the_box_states_model_window_sinks_device_and_number_format(self, rows):
        (box,) = [
            text.get_text()
            for text in draw(rows, "results_summary").axes[0].texts
            if text.get_gid() == "box"
        ]
        for part in ("demo", "window 256", "sinks 4", "Test CPU", "float32"):
            assert part in box

    def test_the_window_method_of_the_same_size_is_listed(self, rows):
        kept = [one for one in rows if one["method"] != "recompute" or one["budget"] == 132]
        assert "window (0 sinks)" in labels(draw(kept, "results_summary").axes[0])

    def test_null_is_a_dash(self):
        rows = [row(method="streaming", window_size=64, measure=["quality"])]
        written = labels(draw(rows, "results_summary").axes[0])
        assert written.count(numbers.MISSING) == 3


@pytest.mark.parametrize("name", FIGURES)
def test_saved_figures_are_small_at_300_dpi(rows, tmp_path, name):
    store = Store(tmp_path)
    store.append_trials(rows)
    chosen = comparable.choose(frames.load(store))
    path = tmp_path / f"{name}.png"
    (drawn,) = registry.draw_all(store, {"": chosen}, [name], lambda _: path, Look())
    assert drawn.path == path
    assert 20_000 < path.stat().st_size <= 600_000


def test_captions_name_what_was_left_out(rows):
    other = [
        row(method="streaming", window_size=64, dtype="float16"),
        row(method="streaming", window_size=48, changes={"device_name": "GPU"}),
        row(method="streaming", window_size=49, decode_tokens=8),
        row(method="streaming", window_size=50, max_tokens=900),
    ]
    said = caption(draw([*rows, *other], "main_comparison"))
    assert "other models or number formats left out: 1" in said
    assert "other devices or versions not shown: 1" in said
    assert "other timing settings not shown: 1" in said
    assert "other text lengths or revisions left out: 1" in said


def test_a_strided_baseline_is_labelled_wherever_it_is_shown():
    rows = [
        row(method="recompute", window_size=128, recompute_stride=64),
        row(method="streaming", window_size=128),
    ]
    paired = comparable.choose(frames.tidy(table(rows), baseline_stride=64), stride=64)
    family = registry.FAMILIES["main_comparison"]
    with Look().drawing():
        figure = family.draw(family.select(paired), blocks.from_table(table(rows)), Look())
    assert "recompute, stride 64 (baseline)" in [
        text.get_text() for text in figure.legends[0].get_texts()
    ]
