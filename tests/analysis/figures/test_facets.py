"""Several models, texts and devices: facets, hues, one run for each, and what is left out."""

import pytest
from click.testing import CliRunner

from analysis.cli import analysis
from analysis.commands.facets import MOST_ASKED
from analysis.drawing.style import HUES, Look
from analysis.figures import registry
from analysis.names import FIGURES
from analysis.rows import comparable, frames
from orchestrator.store.store import Store
from tests.support.analysis_layout import Layout
from tests.support.analysis_rows import row

MODELS = ("demo", "random:pythia-70m", "smollm2-135m")
BOTH = ("streaming", "recompute")
TEXTS = ("pydoc", "stdlib", "wikitext-103", "pg19")


def sweep():
    """3 models, 4 texts, 4 methods, 2 devices."""
    found = []
    for model in MODELS:
        for text in TEXTS:
            for device in ("GPU 9000", "Test CPU"):
                one = {"model": model, "dataset": text, "changes": {"device_name": device}}
                found.append(row(method="dense", **one))
                found.append(row(method="window", window_size=128, **one))
                found += [
                    row(method=method, window_size=window, **one)
                    for method in ("streaming", "recompute")
                    for window in (64, 128)
                ]
    return found


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("store"))
    store.append_trials(sweep())
    return store


@pytest.fixture(scope="module")
def groups(store):
    frame = frames.load(store)
    return comparable.on_one_text(comparable.split(frame, "model"))


def run(*arguments):
    return CliRunner().invoke(analysis, [str(argument) for argument in arguments])


@pytest.mark.parametrize("name", FIGURES)
def test_facets_and_hues_of_three_models_overlap_nowhere(store, groups, name):
    for inches, hue in ((3.3, False), (10.0, True)):
        look = Look(width=inches, dpi=100)
        try:
            figure = registry.picture(store, groups, name, look, hue=hue).figure
        except registry.MissingRowsError:
            assert name == "attention_sinks"
            return
        layout = Layout(figure)
        assert layout.overlaps() == layout.outside() == []
        titles = " ".join(axes.get_title(loc="left") for axes in figure.axes).replace("\n", " ")
        titles += " ".join(text.get_text() for text in figure.texts if text.get_gid() == "row")
        legend = " ".join(t.get_text() for one in figure.legends for t in one.get_texts())
        for model in MODELS:
            assert model in titles.replace("- ", "-") or model in legend, (name, hue)


def test_hues_draw_every_group_in_a_colour_of_its_own_on_shared_axes(store, groups):
    figure = registry.picture(store, groups, "latency_memory", Look(dpi=100), hue=True).figure
    lines = [line for line in figure.axes[0].get_lines() if "StreamingLLM" in line.get_label()]
    assert [line.get_color() for line in lines] == list(HUES[:3])
    low, high = figure.axes[0].get_ylim()
    assert all(low <= value <= high for line in lines for value in line.get_ydata())


@pytest.fixture(scope="module")
def ten(tmp_path_factory):
    """Ten models, each with both ablations on one text."""
    store = Store(tmp_path_factory.mktemp("ten"))
    for number in range(10):
        one = {"model": f"lab/model-{number}", "changes": {"device_name": "GPU 9000"}}
        store.append_trials(
            [row(method=m, window_size=w, **one) for m in BOTH for w in (32, 64, 128, 1024)]
            + [row(method="streaming", window_size=128, n_sink=n, **one) for n in (0, 1, 16)]
            + [row(method="dense", **one)]
        )
    return store, comparable.on_one_text(comparable.split(frames.load(store), "model"))


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize(("inches", "tallest"), [(5.5, 12.5), (10.0, 15.0)])
def test_ten_models_have_room_on_a_page(ten, name, inches, tallest):
    store, groups = ten
    if name == "attention_sinks":
        return
    figure = registry.picture(store, groups, name, Look(width=inches, dpi=100)).figure
    layout = Layout(figure)
    assert layout.overlaps() == layout.outside() == []
    assert figure.get_size_inches()[1] <= tallest
    words = " ".join(text.get_text() for text in layout.texts)
    assert all(f"model-{number}" in words for number in range(10))


@pytest.mark.parametrize("inches", [3.3, 5.5, 6.9, 10.0])
def test_titles_of_facets_stand_clear_of_the_ticks_beside_them(store, groups, inches):
    for name in ("ablation_window_size", "ablation_n_sink"):
        figure = registry.picture(store, groups, name, Look(width=inches, dpi=100)).figure
        assert Layout(figure).overlaps() == []
        assert figure.get_size_inches()[1] <= 10


def test_panels_of_a_facet_that_share_an_axis_name_its_ticks_at_the_foot(store, groups):
    figure = registry.picture(store, groups, "latency_memory", Look(dpi=100)).figure
    figure.canvas.draw()
    named = [any(t.get_text() for t in axes.get_xticklabels()) for axes in figure.axes]
    assert named == [False] * 3 + [True] * 3


def test_hues_have_no_labels_at_points_and_the_caption_does_not_speak_of_them(store, groups):
    for hue in (True, False):
        one = registry.picture(store, groups, "pareto", Look(dpi=100), hue=hue)
        assert any("+128" in text.get_text() for text in one.figure.axes[0].texts) is not hue
        assert ("Labels: sinks + window" in one.caption) is not hue


def test_a_table_of_many_rows_keeps_to_a_page_and_counts_the_others(store, groups):
    one = registry.picture(store, groups, "results_summary", Look(width=3.3, dpi=100))
    assert one.figure.get_size_inches()[1] <= 10
    assert "The page has room for 4 of 16 rows; analysis table shows all." in one.caption


def test_a_caption_says_whose_each_sentence_is_and_counts_what_is_left_out_once(store, groups):
    caption = registry.picture(store, groups, "main_comparison", Look(dpi=100)).caption
    assert caption.count("Speeds measured on other devices or versions not shown:") == 1
    assert caption.count("Runtime: median of 3 repeats") == 1
    own = caption[caption.index("smollm2-135m (float32)") :]
    assert "No difference beyond the interval" in own


def test_as_many_hues_as_can_be_asked_for_are_told_apart():
    assert len(set(HUES)) == len(HUES) >= MOST_ASKED


def test_all_figures_of_a_single_text_show_the_same_one(groups):
    assert len({group.text for group in groups.values()}) == 1
    shown = set()
    for group in groups.values():
        for name in ("ablation_window_size", "latency_memory", "pareto"):
            shown.add(registry.FAMILIES[name].select(group).dataset)
    assert shown == {group.text for group in groups.values()}


def test_models_are_facets_by_default_and_the_rest_is_named_with_its_option(store, tmp_path):
    one = ("plot", "--store", store.uri, "--dpi", 50, "--figure", "pareto", "--out", tmp_path)
    done = run(*one)
    assert done.exit_code == 0, done.output
    assert "not shown: devices" in done.stderr
    assert "--each device or --facet device shows them" in done.stderr
    assert "figures of a single text show" in done.stderr
    assert run(*one, "--each", "model").exit_code == 0
    assert {path.name for path in tmp_path.glob("*.png")} == {
        *("pareto.png", "pareto-demo.png"),
        *("pareto-random-pythia-70m.png", "pareto-smollm2-135m.png"),
    }
    both = run(*one, "--facet", "model", "--hue", "device")
    assert both.exit_code == 2
    assert "choose one" in both.stderr


def test_what_has_no_room_for_all_models_is_said_to_have_it_for_each(store, tmp_path):
    options = ("plot", "--store", store.uri, "--out", tmp_path, "--figure", "results_summary")
    done = run(*options, "--figsize", "3.3x2")
    assert done.exit_code == 1
    (line,) = (line for line in done.stderr.splitlines() if "cannot be drawn" in line)
    assert line.endswith("; --each model draws a figure for each model")


def test_what_is_higher_than_a_page_is_said_to_be_with_the_option_that_is_not(ten, tmp_path):
    options = ("plot", "--store", ten[0].uri, "--figure", "pareto", "--facet", "model")
    for width, said in (("column", 1), ("page", 0)):
        done = run(*options, "--width", width, "--dpi", 50, "--out", tmp_path)
        assert done.exit_code == 0, done.output
        lines = [line for line in done.stderr.splitlines() if "higher than a page" in line]
        assert len(lines) == said, (width, lines)
        assert all("inches" in line and "--each model draws" in line for line in lines)


def test_a_filter_never_breaks_a_pair(store):
    where = ("--where", "window_size>=128", "--where", "method=streaming", "--where", "model=demo")
    done = run("table", "--store", store.uri, *where, "--device", "Test CPU", "--format", "csv")
    streaming = [line for line in done.stdout.splitlines() if "StreamingLLM" in line]
    assert streaming
    assert "recompute" in done.stdout


def test_names_that_make_the_same_file_get_files_of_their_own(tmp_path):
    store = Store(tmp_path / "store")
    names = ("a b", "a/b", "A?b", "x" * 300)
    methods = ("streaming", "recompute")
    for name in names:
        text = {"dataset": f"file:/t/{name}.txt", "dataset_revision": name}
        store.append_trials([row(method=method, **text) for method in methods])
    options = ("plot", "--store", store.uri, "--dpi", 50, "--figure", "results_summary")
    assert run(*options, "--each", "text", "--out", tmp_path / "out").exit_code == 0
    found = [path.stem for path in (tmp_path / "out").glob("*.png")]
    assert len({name.casefold() for name in found}) == len(names)
    assert max(map(len, found)) < 90
