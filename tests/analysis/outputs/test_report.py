"""The report: one file that says everything, sorts and filters, and names no folder."""

import re
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

from analysis.cli import analysis
from analysis.outputs import report
from analysis.rows import frames
from orchestrator.store.store import Store
from tests.orchestrator.reports.test_status import driver
from tests.support.analysis_rows import quickstart, row
from tests.support.chromium import needs_chromium, open_page

EVIL = "<script>alert(1)</script>&\"'"


class Page(HTMLParser):
    """Collects what a page refers to, says, and lists as results."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.tags: list[str] = []
        self.words = ""
        self.rows: list[dict[str, str | None]] = []
        self.cells: list[str] = []
        self.sections: list[dict[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        if tag == "tr" and "data-model" in given:
            self.rows.append(given)
        if tag == "section":
            self.sections.append(given)
        if tag == "td" and given.get("data-label") == "perplexity":
            self.cells.append(given["data-sort"])

    def handle_data(self, data):
        self.words += data + " "

    @property
    def shown(self) -> list[dict[str, str | None]]:
        return [one for one in self.rows if "hidden" not in one]


def run(*arguments: object):
    done = CliRunner().invoke(analysis, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    """Two models, two texts, two devices."""
    store = Store(tmp_path_factory.mktemp("report") / "some-store")
    methods = ("streaming", "recompute")
    store.append_trials(
        [
            *(row(method=m, window_size=w) for m in methods for w in (64, 128)),
            *(row(method=m, window_size=64, dataset="stdlib") for m in methods),
            *(row(method=m, window_size=64, model="some/b", model_revision="b") for m in methods),
            *(row(method=m, window_size=64, changes={"device_name": "GPU"}) for m in methods),
        ]
    )
    return store


@pytest.fixture(scope="module")
def page(store, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.html"
    run("report", "--store", store.uri, "--out", path)
    return path


def test_the_page_is_one_file_that_asks_for_nothing(page):
    seen = Page(page.read_text(encoding="utf-8"))
    assert len(seen.sources) > 10
    assert all(source.startswith("data:image/svg+xml;base64,") for source in seen.sources)
    assert not {"link", "iframe", "object"} & set(seen.tags)
    assert "default-src 'none'" in page.read_text(encoding="utf-8")


def test_every_result_stands_in_it_with_findings_captions_and_provenance(store, page):
    seen = Page(page.read_text(encoding="utf-8"))
    frame = frames.load(store)
    assert len(seen.rows) == len(frame) == 10
    assert sorted(map(float, seen.cells)) == sorted(frame["perplexity"])
    assert {(one["data-model"], one["data-device"]) for one in seen.sections} == {
        ("demo", "Test CPU"),
        ("demo", "GPU"),
        ("some/b", "Test CPU"),
    }
    assert "timed in 2 settings of device" in seen.words
    assert "whiskers from the fastest to the slowest" in seen.words
    assert "2.13.0" in seen.words


def test_no_folder_of_this_machine_is_in_it(tmp_path):
    store = Store(tmp_path / "deep" / "store")
    paths = {"model": "/secret/place/model", "model_revision": "r"}
    for name in ("file:/secret/place/a/book.txt", "file:/secret/place/b/book.txt"):
        store.append_trials([row(method="streaming", window_size=64, dataset=name, **paths)])
    run("report", "--store", store.uri)
    text = (tmp_path / "deep" / "store" / "report.html").read_text(encoding="utf-8")
    assert "secret" not in text
    assert str(tmp_path) not in text
    assert {one["data-text"] for one in Page(text).rows} == {"a/book.txt", "b/book.txt"} or {
        one["data-text"] for one in Page(text).rows
    } == {"book.txt"}


def test_text_from_the_rows_is_escaped(tmp_path):
    store = Store(tmp_path / "store")
    changes = {"model": EVIL, "device_name": EVIL, "sweep": EVIL}
    store.append_trials(
        [row(method=m, window_size=64, changes=changes) for m in ("streaming", "dense")]
    )
    run("report", "--store", store.uri)
    text = (tmp_path / "store" / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert text.count("<script>") == 1
    assert {one["data-device"] for one in Page(text).rows} == {EVIL}


def test_an_empty_store_is_an_error_and_while_watched_a_page_that_waits(tmp_path):
    store = Store(tmp_path / "store")
    done = CliRunner().invoke(analysis, ["report", "--store", store.uri])
    assert done.exit_code == 1
    assert "sweep launch --grid quickstart" in done.stderr
    assert "no results yet" in report.render_report(store, frames.load(store), refresh=3)


@needs_chromium
class TestInABrowser:
    def test_it_opens_without_a_word_on_the_console(self, page):
        seen = open_page(page)
        assert seen.console == ()
        assert "10 of 10 results" in seen.dom
        assert len(Page(seen.dom).shown) == 10

    @pytest.mark.parametrize(
        ("key", "value", "count"),
        [("model", "some/b", 2), ("text", "stdlib", 2), ("method", "recompute", 5),
         ("device", "GPU", 2)],
    )  # fmt: skip
    def test_choosing_in_a_filter_hides_what_does_not_meet_it(self, page, key, value, count):
        choose = (
            f"const one = document.querySelector('select[data-filter={key}]');"
            f"one.value = {value!r}; one.onchange();"
        )
        seen = open_page(page, then=choose)
        shown = Page(seen.dom).shown
        assert {one[f"data-{key}"] for one in shown} == {value}
        assert len(shown) == count
        assert f"{count} of 10 results" in seen.dom
        assert seen.console == ()

    def test_choosing_a_model_hides_the_figures_of_the_others(self, page):
        sections = Page(open_page(page, "model=some%2Fb").dom).sections
        shown = [one["data-model"] for one in sections if "hidden" not in one]
        assert shown == ["some/b"]

    @pytest.mark.parametrize(("theme", "is_dark"), [("dark", True), ("light", False)])
    def test_figures_are_dark_where_the_page_is(self, page, theme, is_dark):
        look = "console.log(getComputedStyle(document.querySelector('figure img')).filter)"
        (said,) = open_page(page, f"theme={theme}", then=look).console
        assert ("invert(0.91)" in said) is is_dark
        assert ("none" in said) is not is_dark

    def test_a_click_on_a_head_sorts_and_another_turns_the_order_around(self, page):
        click = (
            "const head = [...document.querySelectorAll('#results th button')]"
            ".find(one => one.textContent === 'perplexity'); head.click();"
        )
        rising = open_page(page, then=click)
        values = list(map(float, Page(rising.dom).cells))
        assert values == sorted(values)
        assert 'aria-sort="ascending"' in rising.dom
        falling = open_page(page, then=click + "head.click();")
        assert list(map(float, Page(falling.dom).cells)) == values[::-1]
        assert rising.console == falling.console == ()

    def test_the_state_is_in_the_address_so_a_page_read_again_keeps_it(self, page):
        seen = Page(open_page(page, "text=pydoc&device=GPU&theme=dark").dom)
        assert len(seen.shown) == 2

    def test_names_from_the_rows_run_nothing(self, tmp_path):
        store = Store(tmp_path / "store")
        evil = "<img src=x onerror=console.error(1)>"
        store.append_trials([row(method="streaming", changes={"model": evil, "device_name": evil})])
        run("report", "--store", store.uri)
        assert open_page(tmp_path / "store" / "report.html").console == ()


def test_watching_writes_the_page_again_until_the_last_driver_has_ended(tmp_path):
    store = Store(tmp_path / "store")
    store.append_trials([row(method="streaming", window_size=64)])
    driver(store, "w")
    path = tmp_path / "page.html"
    command = [sys.executable, "-m", "analysis.cli", "report", "--watch", "--store", store.uri]
    with subprocess.Popen(
        [*command, "--out", str(path)], stdout=subprocess.PIPE, text=True
    ) as run_:
        assert run_.stdout is not None
        assert run_.stdout.readline() == f"{path}: 1 result\n"
        assert 'http-equiv="refresh"' in path.read_text(encoding="utf-8")
        store.append_trials([row(method="recompute", window_size=64)])
        assert run_.stdout.readline() == f"{path}: 2 results\n"
        store.storage.delete("drivers", "w.json")
        assert run_.stdout.readline() == f"{path}: 2 results\n"
        assert run_.wait(timeout=60) == 0
    text = path.read_text(encoding="utf-8")
    assert 'http-equiv="refresh"' not in text
    assert len(Page(text).rows) == 2
    assert not list(tmp_path.glob("_*"))


def test_time_is_not_in_the_page(store, page, tmp_path):
    time.sleep(0.01)
    run("report", "--store", store.uri, "--out", tmp_path / "again.html")
    assert re.sub(r"\s+", " ", page.read_text(encoding="utf-8")) == re.sub(
        r"\s+", " ", (tmp_path / "again.html").read_text(encoding="utf-8")
    )


def test_figures_of_a_single_text_show_the_same_one(tmp_path):
    store = Store(tmp_path / "store")
    more = [row(dataset="stdlib", method="recompute", window_size=w) for w in (900, 1000)]
    store.append_trials([*quickstart(), *more])
    page = Page(report.render_report(store, frames.load(store)))
    found = re.findall(r"(?:sinks|latency|memory|position), (?:window \d+, )?(\w+)\.", page.words)
    assert len(found) >= 3
    assert len({*found}) == 1
