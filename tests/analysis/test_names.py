"""Names with a syntax of their own, through every output: they are names, and nothing else."""

import csv
import io
import json
import re
import shlex
import tempfile
import warnings
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from matplotlib import font_manager

from analysis.cli import analysis
from analysis.drawing.page import fonts
from analysis.names import TABLE_FORMATS
from analysis.outputs import table
from orchestrator.cli import sweep
from orchestrator.reports.tables import visible
from orchestrator.store.store import Store
from tests.support.analysis_rows import row

NASTY = (
    "spy_$SPY_and_$QQQ",
    "a % b # c & d < e > f ~ g ^ h \\ i { j }",
    "<script>alert('x')</script>",
    '\'; rm -rf "$HOME" `id`',
    "two\nlines\tand a tab",
    "| pipe | \\| [link](x) _bold_",
    "\u05e9\u05dc\u05d5\u05dd \u202egnp.exe",
    "\u1200\u4e2d\U0001f600",
    "\\begin{x} $\\frac{1}{0}$",
)
NAMES = st.text(
    st.one_of(st.sampled_from("$_%#&<>'\"\\`{}[]|~^ \n\t*@-"), st.characters(codec="utf-8")),
    min_size=1,
    max_size=20,
).filter(lambda name: "/" not in name and "\0" not in name and "*" not in name and name.strip())


def store_of(folder: str | Path, name: str) -> Store:
    store = Store(Path(folder) / "store")
    text = {"dataset": f"file:/texts/{name}.txt", "model": f"/models/{name}"}
    store.append_trials(
        [row(method=method, changes=text) for method in ("streaming", "recompute")]
        + [row(method="streaming", n_sink=0, changes=text)]
    )
    return store


def run(store: Store, *arguments: str) -> Result:
    done = CliRunner().invoke(analysis, [*arguments, "--store", store.uri])
    assert done.exit_code == 0, done.output
    return done


def in_every_format(store: Store) -> dict[str, str]:
    """Return what the command writes in each format, from one reading of the store."""
    renderings = dict(table.FORMATS)

    def every(*given: Any) -> str:
        return json.dumps({form: render(*given) for form, render in renderings.items()})

    with patch.dict(table.FORMATS, {"text": every}):
        written, _ = json.JSONDecoder().raw_decode(run(store, "table").stdout)
    assert {*written} == {*TABLE_FORMATS}
    return dict(written)


def has_ethiopic() -> bool:
    entries = font_manager.fontManager.ttflist
    return any("\u1200" in fonts._letters(entry) for entry in entries)


class Tags(HTMLParser):
    """Counts the tags of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: dict[str, int] = {}

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1


def tags_of(page: Path) -> dict[str, int]:
    found = Tags()
    found.feed(page.read_text(encoding="utf-8"))
    return found.counts


@pytest.fixture(scope="module")
def plain_tags(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """Of the report with a name of letters alone."""
    folder = tmp_path_factory.mktemp("plain")
    run(store_of(folder, "plain"), "report", "--out", str(folder / "plain.html"))
    return tags_of(folder / "plain.html")


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(NAMES)
@example(NASTY[0])
@example(NASTY[1])
@example(NASTY[4])
@example(NASTY[5])
@example(NASTY[6])
@example("0\r")
@example("±")
def test_every_table_holds_every_name(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = store_of(folder, name)
        shown = visible(f"{name}.txt")
        lines = list(csv.DictReader(io.StringIO(run(store, "table", "--format", "csv").stdout)))
        assert {line["dataset"] for line in lines} == {shown}
        written = in_every_format(store)
        assert list(csv.DictReader(io.StringIO(written["csv"]))) == lines
        assert {line["dataset"] for line in json.loads(written["json"])} == {shown}
        assert " ".join(shown.split()) in written["text"]
        markdown = written["markdown"].splitlines()
        bars = {
            len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in markdown if line[:1] == "|"
        }
        assert len(bars) == 1, "as many columns in every line"
        inside = written["latex"].partition("\\midrule")[2].partition("\\bottomrule")[0]
        assert len([line for line in inside.splitlines() if line.strip()]) == len(lines)
        without = re.sub(r"\$(-|\\[a-z]+)\$|\\[a-zA-Z]+(\{\})?|\\.", "", inside)
        assert not re.search(r"[$%#_]", without), inside


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(NAMES)
@example(NASTY[3])
@example(NASTY[4])
@example(NASTY[8])
@example("0\r")
def test_rows_and_hints_of_the_store_hold_every_name(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = store_of(folder, name)
        dataset = f"file:/texts/{name}.txt"
        arguments = ["results", "--store", store.uri, "--columns", "dataset,model"]
        for form in ("table", "markdown", "csv", "json"):
            done = CliRunner().invoke(sweep, [*arguments, "--format", form])
            assert done.exit_code == 0, done.output
            if form == "table":
                assert len(done.stdout.splitlines()) == 4, "one line for each row"
            if form == "csv":
                read = csv.DictReader(io.StringIO(done.stdout, newline=""))
                assert {line["dataset"] for line in read} == {dataset}
            if form == "json":
                assert {item["dataset"] for item in json.loads(done.stdout)} == {dataset}
        run(store, "export", folder, "--format", "csv", "--format", "markdown")
        with (Path(folder) / "results.csv").open(encoding="utf-8", newline="") as file:
            assert {line["dataset"] for line in csv.DictReader(file)} == {dataset}
        lines = (Path(folder) / "results.md").read_text(encoding="utf-8").splitlines()
        assert len(lines) == 5, "one line for each row"
        assert len({len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in lines}) == 1
        hints = re.findall(r"make them with: (.*)", run(store, "table").stderr)
        for hint in hints:
            words = shlex.split(hint)
            grid = json.loads(words[words.index(">") - 1])
            assert {entry["dataset"] for entry in grid["grids"]} == {dataset}
            assert words[words.index("--store") + 1] == store.uri


@pytest.mark.slow
@pytest.mark.parametrize("name", [NASTY[k] for k in (1, 2, 4, 7, 8)])
def test_figures_and_the_report_show_every_name(
    name: str, plain_tags: dict[str, int], tmp_path: Path
) -> None:
    store = store_of(tmp_path, name)
    figures = ("results_summary", "main_comparison", "perplexity_over_position")
    named = [part for figure in figures for part in ("--figure", figure)]
    fonts._say_missing.cache_clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(store, "plot", *named, "--out", str(tmp_path / "figures"), "--dpi", "50")
        run(store, "report", "--out", str(tmp_path / "report.html"))
    assert all((tmp_path / "figures" / f"{figure}.png").stat().st_size for figure in figures)
    glyphs = [str(one.message) for one in caught if "font" in str(one.message)]
    assert len(glyphs) <= 1
    assert all("apt-get install" in message for message in glyphs)
    assert bool(glyphs) == ("\u1200" in name and not has_ethiopic())
    tags = tags_of(tmp_path / "report.html")
    assert tags.get("script") == plain_tags.get("script")
    assert set(tags) <= {*plain_tags}
