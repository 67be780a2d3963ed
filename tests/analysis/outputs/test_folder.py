"""What stands beside the pictures: captions, commands that draw them again, and their rows."""

import re
import shlex

import pytest
from click.testing import CliRunner

from analysis.cli import analysis
from analysis.outputs import folder
from analysis.rows import frames
from orchestrator.store.store import Store
from tests.support.analysis_rows import row, table

EVIL = "50% & $x$ #1_{~^\\} | [a](b) <i>`*"


@pytest.fixture(scope="module")
def plotted(tmp_path_factory):
    """A store, and the folder that one figure of it was drawn into."""
    store = Store(tmp_path_factory.mktemp("store"))
    store.append_trials(
        [row(method=m, window_size=w) for m in ("streaming", "recompute") for w in (64, 128)]
    )
    out = tmp_path_factory.mktemp("out")
    words = ("plot", "--store", store.uri, "--out", str(out), "--dpi", "60", "--no-caption")
    done = CliRunner().invoke(analysis, [*words, "--figure", "main_comparison"])
    assert done.exit_code == 0, done.output
    return store, out, done


def test_every_file_is_listed_with_its_size(plotted):
    _, out, done = plotted
    listed = dict(line.split("  ") for line in done.stdout.splitlines())
    assert set(listed) == {
        str(out / name) for name in ("main_comparison.png", "README.md", "figures.tex")
    }
    size = (out / "main_comparison.png").stat().st_size
    assert listed[str(out / "main_comparison.png")] == f"{size / 1000:.0f} kB"


def test_the_readme_has_the_caption_that_the_picture_lacks_and_the_rows_behind_it(plotted):
    store, out, _ = plotted
    text = (out / "README.md").read_text(encoding="utf-8")
    assert "![StreamingLLM and recompute, 4 sinks + window 128](main_comparison.png)" in text
    assert "demo (float32) on Test CPU." in text
    frame = frames.load(store)
    shown = frame[frame["budget"].eq(132)]
    assert len(shown) == 2
    assert set(re.findall(r"\b[0-9a-f]{16}\b", text)) == set(shown["run_id"])


def test_its_command_draws_the_same_bytes_again(plotted, tmp_path):
    _, out, _ = plotted
    text = (out / "README.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"```sh\n(.*?)\n```", text)
    words = [str(tmp_path) if word == str(out) else word for word in shlex.split(command)[1:]]
    assert CliRunner().invoke(analysis, words).exit_code == 0
    name = "main_comparison.png"
    assert (tmp_path / name).read_bytes() == (out / name).read_bytes()


def test_the_latex_file_includes_the_picture_with_caption_and_label(plotted):
    _, out, _ = plotted
    text = (out / "figures.tex").read_text(encoding="utf-8")
    assert "keepaspectratio]{main_comparison.png}" in text
    assert "\\label{fig:main-comparison}" in text
    assert text.count("\\begin{figure}") == text.count("\\end{figure}") == 1


def test_names_are_escaped_in_both(tmp_path):
    rows = frames.tidy(table([row(method="dense", changes={"dataset": EVIL})]))
    entry = folder.SavedFigure(
        path=tmp_path / "one.svg", title=EVIL, caption=EVIL, command="analysis plot", rows=rows
    )
    folder.explain([entry], tmp_path)
    tex = (tmp_path / "figures.tex").read_text(encoding="utf-8")
    escaped = r"50\% \& \$x\$ \#1\_\{\texttt{\char126}\texttt{\char94}\textbackslash{}\}"
    assert escaped in tex
    assert "draw this one with --format pdf" in tex
    readme = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert r"\| \[a\](b) \<i\>\`\*" in readme
    (line,) = [one for one in readme.splitlines() if "914fa7d5a49ef8be" in one or "dense" in one]
    assert len(re.findall(r"(?<!\\)\|", line)) == len(folder.ROWS) + 1
