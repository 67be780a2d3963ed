"""Every figure at every width, with names of every kind: nothing overlaps, nothing is cut."""

import copy
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.text import Text

from analysis.drawing.page import fonts
from analysis.drawing.page.files import save
from analysis.drawing.style import PRINT, Look, parse_width
from analysis.errors import AnalysisError, DoesNotFitError
from analysis.figures import registry
from analysis.names import FIGURES, WIDTHS
from analysis.rows import blocks, comparable, frames
from tests.support.analysis_layout import Layout
from tests.support.analysis_rows import attention, quickstart, row, table

LONG = "a-model-with-a-name-as-long-as-they-come/checkpoint-000123456"
CHINESE = "《红楼梦》第一回：甄士隐梦幻识通灵，贾雨村风尘怀闺秀（节选）"  # noqa: RUF001


def renamed(rows, names):
    """The rows once for each text, the text renamed and every id made its own."""
    return [
        one | {"dataset": name} | {key: f"{one[key]}{number}" for key in ("row_id", "run_id")}
        for number, name in enumerate(names)
        for one in copy.deepcopy(rows)
    ]


CASES = {
    "short": (lambda: quickstart(), "en"),
    "long": (
        lambda: [
            one | {"model": LONG, "device_name": "NVIDIA H100 80GB HBM3 in a machine of ours"}
            for one in renamed(
                quickstart(["pydoc"]), [f"file:/x/{'of-text-' * 6}{n}.txt" for n in "ab"]
            )
        ],
        "en",
    ),
    "many": (
        lambda: renamed(
            [row(method=m, window_size=w) for m in ("streaming", "recompute") for w in (64, 128)]
            + [row(method="streaming", window_size=128, n_sink=n) for n in (0, 1)]
            + [row(method="dense", changes=attention("text"))],
            [f"text number {number}" for number in range(12)],
        ),
        "en",
    ),
    "chinese": (lambda: renamed(quickstart(["pydoc"]), [f"file:/x/{CHINESE}.txt", "pydoc"]), "zh"),
}


def draw(rows, name, look):
    family = registry.FAMILIES[name]
    data = family.select(comparable.choose(frames.tidy(table(rows))))
    return family.draw(data, blocks.from_table(table(rows)), look)


@pytest.fixture(scope="module", params=CASES)
def case(request):
    make, lang = CASES[request.param]
    if lang == "zh":
        try:
            fonts.families("zh")
        except AnalysisError:
            pytest.skip("no Chinese font is installed")
    rows = make()
    return table(rows), comparable.choose(frames.tidy(table(rows))), lang


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_overlaps_or_is_cut_at_any_width(case, name):
    stored, chosen, lang = case
    family = registry.FAMILIES[name]
    data, known = family.select(chosen), blocks.from_table(stored)
    for place, inches in WIDTHS.items():
        look = Look(lang=lang, width=inches, dpi=100)
        figure = family.draw(data, known, look)
        assert figure.get_size_inches()[0] == inches
        layout = Layout(figure, lang)
        assert layout.overlaps() == [], place
        assert layout.outside() == [], place
        assert layout.crossed() == [], place
        sizes = {text.get_fontsize() for text in layout.texts}
        assert min(sizes) >= 6
        assert place == "slide" or max(sizes) <= 8
        for line in (line for text in figure.texts for line in text.get_text().split("\n")):
            assert line[:1] not in fonts.CLOSING or not line, line


@pytest.mark.parametrize(
    ("name", "size", "said"),
    [
        ("main_comparison", (3.3, 2.5), "--figsize 3.3x"),
        ("results_summary", (2.0, 30.0), "--width 3.3"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_size_that_would(name, size, said):
    with pytest.raises(DoesNotFitError, match=f"cannot be drawn at {size[0]:g}.*{said}"):
        draw(quickstart(), name, Look(figsize=size, dpi=100))


def test_figsize_gives_the_panels_what_is_left():
    figure = draw(quickstart(["pydoc"]), "pareto", Look(figsize=(3.3, 4.0), dpi=100))
    assert figure.get_size_inches().tolist() == [3.3, 4.0]
    layout = Layout(figure)
    assert layout.overlaps() == layout.outside() == []


def test_title_and_caption_can_be_left_out():
    look = Look(width=3.3, dpi=100, with_title=False, with_caption=False)
    assert [text.get_gid() for text in draw(quickstart(["pydoc"]), "pareto", look).texts] == []


def test_print_is_set_in_6_to_8_points():
    letters = (PRINT.title, PRINT.panel, PRINT.label, PRINT.tick, PRINT.value, PRINT.caption)
    assert (min(letters), max(letters)) == (6, 8)
    assert [parse_width(name) for name in WIDTHS] == [3.3, 5.5, 6.9, 10.0]


def test_pdf_holds_letters_and_svg_text(tmp_path):
    look = Look(width=3.3)
    figure = draw(quickstart(["pydoc"]), "pareto", look)
    for kind in ("pdf", "svg"):
        save(figure, tmp_path / f"one.{kind}", look)
    assert b"/Type3" not in (tmp_path / "one.pdf").read_bytes()
    assert b"/FontFile2" in (tmp_path / "one.pdf").read_bytes()
    assert ">Perplexity against latency, pydoc<" in (tmp_path / "one.svg").read_text()


def test_a_picture_with_too_many_pixels_is_refused_with_the_dpi_that_would_do(tmp_path):
    look = Look(figsize=(20.0, 20.0), dpi=1200)
    figure = draw(quickstart(["pydoc"]), "pareto", Look(figsize=(20.0, 20.0), dpi=50))
    with pytest.raises(AnalysisError, match=r"million pixels.*--dpi 547 at most"):
        save(figure, tmp_path / "big.png", look)
    assert not (tmp_path / "big.png").exists()


def test_an_infinite_perplexity_stands_at_the_edge_with_a_mark():
    rows = quickstart(["pydoc"])
    for one in rows:
        if one["method"] == "streaming" and one["n_sink"] == 0:
            one.update(perplexity=float("inf"), perplexity_low=None, perplexity_high=None)
    for name in FIGURES:
        figure = draw(rows, name, Look(dpi=100))
        assert Layout(figure).overlaps() == [], name
    axes = draw(rows, "ablation_n_sink", Look(dpi=100)).axes[0]
    (mark,) = [line for line in axes.get_lines() if line.get_marker() == "^"]
    assert (list(mark.get_xdata()), list(mark.get_ydata())) == ([0.0], [1.0])
    assert np.isfinite(axes.get_ylim()).all()


def test_a_chinese_line_neither_begins_with_closing_nor_ends_with_opening_punctuation():
    fonts_here = fonts.wrap("困惑度（对数坐标），方括号：「区间」。" * 6, 0.8, 7)  # noqa: RUF001
    assert len(fonts_here) > 6
    assert not [
        line for line in fonts_here if line[0] in fonts.CLOSING or line[-1] in fonts.OPENING
    ]


def test_a_number_and_its_word_stand_on_one_line():
    text = "Attention sinks, window 128, of 3 repeats, at 133"
    whole = fonts.width(text, 7)
    broken = [fonts.wrap(text, whole * share / 100, 7) for share in range(30, 100)]
    ends = {(a.split()[-1], b.split()[0]) for lines in broken for a, b in pairwise(lines)}
    assert ("of", "3") in ends  # so that the 3 stands with its repeats
    assert not ends & {("window", "128,"), ("3", "repeats,"), ("at", "133")}
    assert fonts.wrap("window 128", fonts.width("window", 7) + 0.01, 7) == ["window", "128"]


def test_a_long_name_is_broken_or_shortened_in_the_middle_never_at_its_ends():
    lines = fonts.shorten("begin-" + "x" * 300 + "-end", 1.0, 7, 3)
    assert len(lines) <= 3
    assert lines[0].startswith("begin-")
    assert lines[-1].endswith("-end")


def test_letters_that_the_font_lacks_are_taken_from_another_installed_one():
    try:
        chinese = fonts.families("zh")[0]
    except AnalysisError:
        pytest.skip("no Chinese font is installed")
    assert fonts.covering(["Ελληνικά", "pydoc"], ["DejaVu Sans"]) == ["DejaVu Sans"]
    assert chinese in fonts.covering(["红楼梦"], ["DejaVu Sans"])
    rows = renamed(quickstart(["pydoc"]), ["file:/x/红楼梦.txt"])
    figure = draw(rows, "main_comparison", Look(dpi=100))
    named = [text for text in figure.findobj(Text) if "红楼梦" in text.get_text()]
    assert named
    assert all(chinese in text.get_fontfamily() for text in named)
