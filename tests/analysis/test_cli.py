"""The `analysis` command: every option, every refusal, and a quick `--help`."""

import csv
import io
import json
import shlex
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from matplotlib import font_manager
from PIL import Image

from analysis.cli import analysis
from analysis.drawing.page.fonts import CJK_FAMILIES
from analysis.names import FIGURES
from analysis.rows import frames
from orchestrator.grid.load import load_grid
from orchestrator.store.store import Store
from tests.support.analysis_rows import quickstart, row

HEAVY = ("torch", "transformers", "ray", "pandas", "matplotlib", "pyarrow", "seaborn")


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    store = Store(tmp_path_factory.mktemp("store"))
    gpu = row(method="streaming", window_size=128, changes={"device_name": "GPU 9000"})
    store.append_trials([*quickstart(), gpu])
    return store


def run(*arguments: object):
    return CliRunner().invoke(analysis, [str(argument) for argument in arguments])


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from analysis.cli import analysis\n"
        "try: analysis(['--help'])\n"
        "except SystemExit: pass\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")


def test_every_command_and_option_has_help():
    for name, command in analysis.commands.items():
        assert command.help, name
        for option in command.params:
            if option.param_type_name == "option":
                assert option.help, f"{name} {option.name}"


def test_plot_draws_every_figure_into_the_store_by_default(store):
    done = run("plot", "--store", store.uri)
    assert done.exit_code == 0, done.output
    folder = store.storage.local_root / "figures"
    names = [*(f"{name}.png" for name in FIGURES), "README.md", "figures.tex"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    listed = [line.split("  ")[0] for line in done.stdout.splitlines()]
    assert listed == [str(folder / name) for name in names]


@pytest.mark.parametrize(
    ("form", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")]
)
def test_plot_writes_each_format(store, tmp_path, form, start):
    done = run(
        "plot", "--store", store.uri, "--out", tmp_path, "--figure", FIGURES[0], "--format", form
    )
    assert done.exit_code == 0
    assert (tmp_path / f"{FIGURES[0]}.{form}").read_bytes().startswith(start)


def test_dpi_and_figsize_give_the_size_in_pixels(store, tmp_path):
    one = ("plot", "--store", store.uri, "--out", tmp_path, "--figure", FIGURES[0])
    assert run(*one, "--dpi", 80, "--figsize", "11x8").exit_code == 0
    with Image.open(tmp_path / f"{FIGURES[0]}.png") as image:
        assert image.size == (880, 640)
    assert run(*one, "--dpi", 100, "--width", "column").exit_code == 0
    with Image.open(tmp_path / f"{FIGURES[0]}.png") as image:
        assert image.width == 330


def test_a_color_replaces_the_palette(store, tmp_path):
    one = ("plot", "--store", store.uri, "--out", tmp_path, "--figure", FIGURES[0], "--dpi", 60)
    assert run(*one, "--color", "baseline=#123456").exit_code == 0
    with Image.open(tmp_path / f"{FIGURES[0]}.png") as image:
        pixels = {
            tuple(color) for color in np.asarray(image.convert("RGB")).reshape(-1, 3).tolist()
        }
    assert (0x12, 0x34, 0x56) in pixels
    assert (0x2E, 0x86, 0xAB) not in pixels


def test_the_same_rows_give_the_same_file(store, tmp_path):
    for name in ("a", "b"):
        one = ("plot", "--store", store.uri, "--out", tmp_path / name, "--figure", FIGURES[0])
        assert run(*one, "--format", "svg").exit_code == 0
    first, second = ((tmp_path / name / f"{FIGURES[0]}.svg").read_bytes() for name in ("a", "b"))
    assert first == second


def test_chinese_figures_need_a_chinese_font(store, tmp_path, monkeypatch):
    latin = [font for font in font_manager.fontManager.ttflist if font.name == "DejaVu Sans"]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", latin)
    monkeypatch.setattr(font_manager, "findSystemFonts", list)
    done = run("plot", "--store", store.uri, "--out", tmp_path, "--lang", "zh")
    assert done.exit_code == 2
    assert "fonts-noto-cjk" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_chinese_figures_are_drawn_with_an_installed_chinese_font(store, tmp_path):
    installed = {font.name for font in font_manager.fontManager.ttflist}
    if not installed & set(CJK_FAMILIES):
        pytest.skip("no Chinese font is installed")
    one = ("plot", "--store", store.uri, "--out", tmp_path, "--figure", FIGURES[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a glyph that the font lacks is only a warning
        assert run(*one, "--lang", "zh", "--dpi", 60).exit_code == 0


def test_a_device_is_chosen_by_name_and_an_unknown_one_names_those_there_are(store, tmp_path):
    done = run("table", "--store", store.uri, "--device", "GPU 9000", "--format", "csv")
    lines = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [line["cache"] for line in lines] == ["4 + 128"]
    wrong = run("table", "--store", store.uri, "--device", "TPU")
    assert wrong.exit_code == 2
    assert "'GPU 9000', 'Test CPU'" in wrong.stderr


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--color", "pink=#123456", "baseline, streaming, accent, success, neutral"),
        ("--color", "baseline=red", "key=#rrggbb"),
        ("--color", "streeming=#123456", "did you mean streaming?"),
        ("--figsize", "10", "WxH"),
        ("--width", "colum", "did you mean column?"),
        ("--width", "900", "2 to 60 inches"),
        ("--width", "nan", "2 to 60 inches"),
        ("--style", "light", "paper"),
        ("--font", "DejaVu Sanz", "DejaVu Sans"),
        ("--figsize", "1x900", "2 to 60 inches"),
        ("--figure", "main", "main_comparison"),
        ("--format", "jpg", "png"),
        ("--lang", "fr", "en"),
        ("--dpi", "5", "50<=x<=1200"),
        ("--where", "color=red", "no column 'color'"),
        ("--where", "dtype", "COLUMN=VALUE"),
        ("--where", "window_size=many", "not a value of type"),
        ("--where", "dtype=int8", "float32"),
    ],
)
def test_a_wrong_option_is_refused_with_what_is_allowed(store, tmp_path, option, value, said):
    done = run("plot", "--store", store.uri, "--out", tmp_path, option, value)
    assert done.exit_code == 2
    assert said in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_empty_store_names_the_command_that_fills_it(tmp_path):
    for command in ("plot", "table"):
        done = run(command, "--store", tmp_path)
        assert done.exit_code == 1
        assert f"sweep launch --grid quickstart --store {tmp_path}" in done.stderr


def test_a_figure_without_rows_does_not_stop_the_others(tmp_path):
    store = Store(tmp_path)
    store.append_trials([row(method=m, window_size=128) for m in ("recompute", "streaming")])
    done = run("plot", "--store", tmp_path)
    assert done.exit_code == 0
    assert "main_comparison.png" in done.stdout
    assert "ablation_n_sink: fewer than two values of n_sink" in done.stderr
    asked = run("plot", "--store", tmp_path, "--figure", "ablation_n_sink")
    assert asked.exit_code == 1


def test_a_damaged_file_is_named_and_survived(tmp_path):
    store = Store(tmp_path)
    store.append_trials(quickstart(["pydoc"]))
    (tmp_path / "trials" / "part-x-1.parquet").write_bytes(b"not parquet")
    done = run("table", "--store", tmp_path)
    assert done.exit_code == 0
    assert "part-x-1.parquet was skipped" in done.stderr


def test_a_folder_that_cannot_be_written_is_one_line(store, tmp_path):
    (tmp_path / "file").write_text("")
    done = run("plot", "--store", store.uri, "--out", tmp_path / "file" / "below")
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1].startswith("Error: cannot write")


def test_table_writes_every_format_with_the_same_numbers(store):
    plain, markdown, as_csv, as_json = (
        run("table", "--store", store.uri, "--format", form).stdout
        for form in ("text", "markdown", "csv", "json")
    )
    lines = json.loads(as_json)
    assert len(lines) == len(list(csv.DictReader(io.StringIO(as_csv)))) == 7
    for line in lines:
        written = f"{line['perplexity']:.2f} [{line['perplexity_low']:.2f}, "
        assert written in plain
        assert written.replace("[", "\\[") in markdown


def test_where_keeps_the_rows_that_meet_it(store):
    done = run("table", "--store", store.uri, "--where", "dataset=stdlib", "--format", "json")
    assert {line["dataset"] for line in json.loads(done.stdout)} == {"stdlib"}


def test_block_lists_are_not_read_with_the_rows():
    lists = {"block_document", "block_index", "block_tokens", "block_nll"}
    assert not lists & set(frames.EVERYTHING)
    assert set(frames.COLUMNS) < set(frames.EVERYTHING)


def test_a_condition_may_name_a_column_that_no_figure_needs(store):
    done = run("table", "--store", store.uri, "--where", "hostname=testhost")
    assert done.exit_code == 0, done.output


def test_published_numbers_are_refused_in_words_where_there_are_none(store, tmp_path):
    done = run("plot", "--store", store.uri, "--out", tmp_path, "--figure", "pareto", "--published")
    assert done.exit_code == 0
    assert "nothing is known for demo; there are numbers for falcon-7b" in done.stderr


def test_every_command_and_figure_is_documented():
    text = (Path(__file__).parents[2] / "docs" / "figures.md").read_text(encoding="utf-8")
    for name in (*FIGURES, *(f"analysis {command}" for command in analysis.commands)):
        assert name in text, name


def test_the_command_for_missing_rows_makes_exactly_them(tmp_path):
    kept = [one for one in quickstart(["pydoc"]) if one["method"] != "recompute"]
    store = Store(tmp_path / "store")
    store.append_trials([*kept, row(method="recompute", dataset="stdlib", window_size=256)])
    done = run("plot", "--store", store.uri, "--figure", "main_comparison")
    command = done.stderr.split("make them with: ")[1].strip()
    grid = tmp_path / "missing.yaml"
    grid.write_text(shlex.split(command)[1])
    (planned,) = load_grid(str(grid)).evaluations
    wanted = ("recompute", "pydoc", "demo", 516)
    spec = planned.spec
    assert (spec.method, spec.dataset, spec.model, spec.budget) == wanted
    assert command.endswith(f"sweep launch --grid missing.yaml --store {store.uri}")


@pytest.fixture
def doubtful(tmp_path) -> str:
    """A store in which one time was measured on a shared device."""
    store = Store(tmp_path / "doubtful")
    rows = quickstart(["pydoc"])
    store.append_trials([dict(rows[1], device_shared=True), *rows[2:]])
    return store.uri


@pytest.mark.parametrize("command", ["table", "plot", "report"])
def test_what_the_audit_calls_unusable_is_said_once_and_refused_on_request(
    doubtful, tmp_path, command
):
    place = () if command == "table" else ("--out", tmp_path / "out")
    if command == "plot":
        place = (*place, "--figure", "pareto")
    done = run(command, "--store", doubtful, *place)
    assert done.exit_code == 0, done.output
    assert done.stderr.count("numbers that cannot be used (device-shared)") == 1
    strict = run(command, "--store", doubtful, *place, "--strict")
    assert strict.exit_code == 1
    assert strict.stderr.startswith("Error: --strict: 1 of ")


def test_a_strict_audit_of_nothing_is_an_error_that_says_what_is_there(tmp_path):
    nowhere = run("audit", "--strict", "--store", tmp_path / "mistyped")
    assert nowhere.exit_code == 1
    assert "no attempt is stored there" in nowhere.stderr
    failed = Store(tmp_path / "failed")
    failed.append_trials([dict(one, status="failed") for one in quickstart(["pydoc"])[:2]])
    strict = run("audit", "--strict", "--store", failed.uri)
    assert strict.exit_code == 1
    assert "2 attempts failed" in strict.stderr
    assert run("audit", "--store", failed.uri).exit_code == 0
