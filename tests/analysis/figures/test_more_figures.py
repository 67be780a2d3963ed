"""The figures beyond the original four: over position, latency and memory, the trade-off."""

import math

import numpy as np
import pytest

from analysis.drawing.axes import log_ticks
from analysis.drawing.style import PALETTE, Look
from analysis.errors import MissingRowsError
from analysis.figures import pareto, registry
from analysis.figures.perplexity_over_position import over_position
from analysis.rows import blocks, comparable, frames, published
from tests.support.analysis_layout import Layout
from tests.support.analysis_rows import quickstart, row, table


@pytest.fixture(scope="module")
def rows():
    return quickstart()


def prepare(rows, name):
    chosen = comparable.choose(frames.tidy(table(rows)))
    return registry.FAMILIES[name].select(chosen)


def draw(rows, name, look=None):
    look = look or Look()
    with look.drawing():
        return registry.FAMILIES[name].draw(
            prepare(rows, name), blocks.from_table(table(rows)), look
        )


def curves(axes):
    return {line.get_label(): line for line in axes.get_lines()}


class TestPosition:
    def test_stretches_add_up_to_the_perplexity_of_the_row(self, rows):
        one = rows[1]
        found = blocks.from_table(table([one]))[one["row_id"]]
        for points in (1, 7, 48, 10_000):
            position, perplexity = over_position(found, points=points)
            assert len(position) <= points
            length = -(-(int(found.index.max()) + 1) // points)
            tokens = np.bincount((found.index // length).astype(int), found.tokens)
            total = float((np.log(perplexity) * tokens).sum())
            assert total == pytest.approx(one["nll_sum"])
            assert (np.diff(position) > 0).all()

    def test_documents_are_put_on_top_of_each_other(self):
        one = row(dataset="stdlib", method="streaming", window_size=64)
        found = blocks.from_table(table([one]))[one["row_id"]]
        position, perplexity = over_position(found)
        first = [n for i, n in zip(one["block_index"], one["block_nll"], strict=True) if i == 0]
        assert len(first) == 3
        assert perplexity[0] == pytest.approx(math.exp(sum(first) / (3 * 256)))
        assert position[0] == 128

    def test_all_methods_are_drawn_in_log_scale_with_the_first_eviction_marked(self, rows):
        kept = [one for one in rows if one["method"] != "recompute" or one["budget"] == 132]
        figure = draw(kept, "perplexity_over_position")
        axes = figure.axes[0]
        lines = curves(axes)
        assert axes.get_yscale() == "log"
        names = {"StreamingLLM", "window (0 sinks)", "dense", "recompute (baseline)"}
        assert names <= set(lines)
        assert list(lines["first eviction, at 133"].get_xdata()) == [133, 133]
        assert list(lines["trained length, 512"].get_xdata()) == [512, 512]

    def test_rows_without_block_sums_are_named_as_missing(self):
        bare = row(method="streaming", changes={"block_size": None, "block_nll": None})
        with pytest.raises(MissingRowsError, match="block sums"):
            prepare([bare], "perplexity_over_position")


class TestLatencyMemory:
    def test_both_curves_hold_the_latencies_of_the_rows(self, rows):
        figure = draw(rows, "latency_memory")
        for name, method in (("StreamingLLM", "streaming"), ("recompute (baseline)", "recompute")):
            line = curves(figure.axes[0])[name]
            expected = {
                math.log2(one["budget"]): one["latency_ms_mean"]
                for one in rows
                if one["method"] == method
                and (method == "recompute" or one["n_sink"] == 4)
                and one["dataset"] == "pydoc"
            }
            assert dict(zip(line.get_xdata(), line.get_ydata(), strict=True)) == expected

    def test_the_computed_cache_is_shown_and_named_where_no_memory_was_measured(self, rows):
        figure = draw(rows, "latency_memory")
        assert "computed" in figure.axes[1].get_title(loc="left")
        line = curves(figure.axes[1])["StreamingLLM"]
        assert list(line.get_ydata()) == pytest.approx([2**x / 256 for x in line.get_xdata()])

    def test_measured_peak_memory_is_preferred(self, rows):
        measured = [dict(one, peak_memory_bytes=2**30 + 2**20 * i) for i, one in enumerate(rows)]
        figure = draw(measured, "latency_memory")
        assert "Peak memory" in figure.axes[1].get_title(loc="left")
        assert min(curves(figure.axes[1])["StreamingLLM"].get_ydata()) > 1024

    def test_a_missing_baseline_budget_is_named_with_its_command(self, rows):
        kept = [one for one in rows if one["method"] != "recompute" or one["budget"] != 68]
        (missing,) = prepare(kept, "latency_memory").missing
        assert missing.what == "no timed recompute row with budget 68"
        assert '"window_size": [68]' in missing.command
        assert '"measure": ["latency"]' in missing.command

    def test_published_latencies_are_drawn_beside_only_when_asked_and_cited(self):
        rows = [
            row(model="random:llama-2-7b", method=method, window_size=window, n_sink=4)
            for method in ("recompute", "streaming")
            for window in (252, 508)
        ]
        plain = draw(rows, "latency_memory")
        assert not any("paper" in name for name in curves(plain.axes[0]))
        figure = draw(rows, "latency_memory", Look(published=True))
        line = curves(figure.axes[0])["recompute, paper, A6000"]
        # Only the sizes that are near ours: the others would flatten what was measured.
        assert list(line.get_ydata()) == [63, 103, 223]
        assert any("2309.17453" in text.get_text() for text in figure.texts)


class TestPareto:
    def test_the_frontier_holds_exactly_the_rows_that_nothing_beats(self, rows):
        data = prepare(rows, "pareto")
        best = set(pareto.frontier(data.rows)["row_id"])
        points = data.rows[["row_id", "latency_ms_mean", "perplexity"]].to_numpy().tolist()
        for row_id, latency, perplexity in points:
            beaten = any(
                a <= latency and b <= perplexity and (a, b) != (latency, perplexity)
                for _, a, b in points
            )
            assert (row_id in best) is not beaten

    def test_every_row_with_both_values_is_a_point(self, rows):
        axes = draw(rows, "pareto").axes[0]
        drawn = sum(
            len(line.get_xdata()) for line in axes.get_lines() if line.get_marker() != "None"
        )
        assert drawn == len(prepare(rows, "pareto").rows) == 18

    def test_a_point_beyond_training_is_hollow(self, rows):
        axes = draw(rows, "pareto").axes[0]
        (hollow,) = [line for line in axes.get_lines() if line.get_markerfacecolor() == "#FFFFFF"]
        assert hollow.get_color() == PALETTE["streaming"]
        assert len(hollow.get_xdata()) == 1


@pytest.mark.parametrize("limits", [(10.3, 10.9), (1, 9), (15, 400), (0.2, 6000), (99, 101)])
def test_a_log_axis_has_a_handful_of_round_ticks(limits):
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    axes.set_yscale("log")
    axes.set_ylim(*limits)
    log_ticks(axes.yaxis)
    assert 3 <= len(axes.get_yticks()) <= 10
    assert all(limits[0] <= tick <= limits[1] for tick in axes.get_yticks())


def test_the_published_numbers_are_those_of_the_paper():
    table_2 = {
        (one["model"], one["n_sink"]): one["perplexity"]
        for one in published.data()["perplexities"]
        if one["where"] == "Table 2"
    }
    assert table_2["llama-2-7b", 0] == 3359.95
    assert table_2["pythia-12b", 4] == 12.09
    assert len(table_2) == 20
    streaming = [c for c in published.latencies("random:llama-2-13b") if c.method == "streaming"]
    assert streaming[0].values == [48, 52, 60, 75, 106]
    assert "arXiv 2309.17453" in published.data()["source"]


def test_a_window_of_0_has_a_place_on_the_axis():
    rows = [row(method="streaming", window_size=window) for window in (0, 16, 32)]
    axes = draw(rows, "ablation_window_size").axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0", "16", "32"]


def legend(figure):
    return [text.get_text() for one in figure.legends for text in one.get_texts()]


def caption(figure):
    (found,) = [text for text in figure.texts if text.get_gid() == "caption"]
    return found.get_text().replace("\n", " ")


class TestWithoutWhatIsUsable:
    @pytest.fixture
    def disturbed(self):
        changes = {"timing_disturbed": "others took 92% of the 2 cores"}
        return [one | changes for one in quickstart(["pydoc"])]

    def test_the_legend_of_pareto_names_the_methods_and_no_line_that_is_not_drawn(self, disturbed):
        found = legend(draw(disturbed, "pareto"))
        assert {"StreamingLLM", "recompute (baseline)", "dense", "hollow: see caption"} <= {*found}
        assert "best of both" not in found

    def test_a_name_in_the_legend_is_drawn_as_where_it_stands_first(self, disturbed):
        figure = draw(disturbed, "main_comparison", Look(dpi=100))
        (legend,) = figure.legends
        faces = {patch.get_facecolor()[:3] for patch in legend.get_patches()}
        assert (1.0, 1.0, 1.0) not in faces

    def test_a_panel_without_any_value_is_low(self, disturbed):
        figure = draw(disturbed, "main_comparison", Look(width=3.3, dpi=100))
        heights = [axes.get_position().height for axes in figure.axes]
        assert heights[2] < 0.5 * heights[0]

    def test_no_line_at_1_where_there_is_no_speedup(self, disturbed):
        assert "1× (as fast as the baseline)" not in legend(draw(disturbed, "main_comparison"))  # noqa: RUF001

    def test_a_table_has_signs_and_nothing_hollow(self, disturbed):
        text = caption(draw(disturbed, "results_summary"))
        assert "† cannot be used (disturbed-timing)" in text
        assert "Hollow" not in text

    def test_none_is_the_lowest_where_no_interval_says_so(self):
        none = dict.fromkeys(("block_document", "block_index", "block_tokens"))
        rows = [one | none | {"block_nll": None} for one in quickstart(["pydoc"])]
        figure = draw(rows, "ablation_window_size")
        assert not {"lowest perplexity", "tied for the lowest perplexity"} & {*legend(figure)}
        assert "None is called the lowest" in caption(figure)

    def test_none_is_the_lowest_of_one(self):
        evicted = {"evicted_tokens": 0}
        rows = [row(method="streaming", window_size=w) for w in (64, 128)]
        rows[1] |= {"hollow": None} | evicted
        figure = draw(rows, "ablation_window_size")
        assert not any("lowest" in name for name in legend(figure))


@pytest.mark.parametrize("inches", [3.3, 5.5, 6.9, 10.0])
@pytest.mark.parametrize("share", [0.98, 0.52, 0.41])
def test_shares_stand_inside_their_bars(rows, inches, share):
    changed = [one | {"compression_ratio": share} for one in rows]
    figure = draw(changed, "ablation_window_size", Look(width=inches))
    axes = figure.axes[1]
    figure.canvas.draw()
    assert len(axes.texts) == len(axes.patches)
    for text, bar in zip(axes.texts, axes.patches, strict=True):
        written, drawn = text.get_window_extent(), bar.get_window_extent()
        assert drawn.x0 <= written.x0 + 1
        assert written.x1 <= drawn.x1 + 1
        assert drawn.y0 <= written.y0
        assert written.y1 <= drawn.y1


def test_a_caption_speaks_of_labels_only_where_they_had_room(rows):
    said = "Differences below perplexities"
    for inches, is_shown in ((10.0, True), (3.3, False)):
        figure = draw(rows, "ablation_n_sink", Look(width=inches, dpi=100))
        above = [text.get_text() for text in figure.axes[0].texts]
        assert any("[" in text for text in above) is is_shown
        assert (said in caption(figure)) is is_shown
        assert "At the points: runtime" in caption(figure)
        layout = Layout(figure)
        assert layout.overlaps() == layout.outside() == []


@pytest.mark.parametrize("inches", [3.3, 5.5, 6.9, 10.0])
def test_a_label_of_pareto_without_a_line_is_nearest_to_its_own_point(rows, inches):
    figure = draw(rows, "pareto", Look(width=inches, dpi=100))
    axes = figure.axes[0]
    figure.canvas.draw()
    data = prepare(rows, "pareto").rows
    points = axes.transData.transform(data[["latency_ms_mean", "perplexity"]].to_numpy())
    found = {text.xy: text for text in axes.texts if text.get_text()}
    joined = [text.xy for text in axes.texts if not text.get_text()]
    assert len(found) >= 8
    for place, text in found.items():
        if place in joined:
            continue
        box = text.get_window_extent()
        apart = [
            math.hypot(max(box.x0 - x, 0, x - box.x1), max(box.y0 - y, 0, y - box.y1))
            for x, y in points
        ]
        x, y = points[int(np.argmin(apart))]
        assert (x, y) == pytest.approx(tuple(axes.transData.transform(place))), text.get_text()


@pytest.mark.parametrize("inches", [3.3, 10.0])
def test_a_point_under_a_mark_has_its_label_too(rows, inches):
    bare = dict.fromkeys(("block_document", "block_index", "block_tokens", "block_nll"))
    alone = [one | bare for one in rows if one["method"] == "streaming"]
    axes = draw(alone, "ablation_n_sink", Look(width=inches, dpi=100)).axes[0]
    (cross,) = [line for line in axes.get_lines() if line.get_marker() == "X"]
    assert f"{cross.get_ydata()[0]:.2f}" in [text.get_text() for text in axes.texts]


def test_a_star_is_larger_than_its_rim_however_small(rows):
    for facets in (1, 3):
        axes = draw(rows, "ablation_window_size", Look(width=5.5, facets=facets)).axes[0]
        (star,) = [line for line in axes.get_lines() if line.get_marker() == "*"]
        assert star.get_markeredgewidth() < 0.1 * star.get_markersize()


def test_one_sink_is_one_sink(rows):
    changed = [one | {"timing_disturbed": "yes"} for one in rows if one["method"] == "streaming"]
    text = caption(draw(changed, "ablation_n_sink"))
    assert "1 sink," in text
    assert "1 sinks" not in text.replace("16 sinks", "")


def test_ticks_of_an_axis_have_the_same_decimals(rows):
    figure = draw(rows, "latency_memory")
    figure.canvas.draw()
    texts = [text.get_text() for text in figure.axes[1].get_yticklabels()]
    assert len({len(text.partition(".")[2]) for text in texts}) == 1
