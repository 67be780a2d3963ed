"""Wrong grid files: each refused with place and remedy, exit code 2, nothing written."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from orchestrator.cli import sweep

HEAD = (
    "sweep: s\n"
    "defaults: {model: random:pythia-70m, dataset: random, max_tokens: 64, method: streaming}\n"
)

# name: (content, places and words that the message must have)
WRONG: dict[str, tuple[str | bytes, list[str]]] = {
    "unknown top-level key": (HEAD + "grid: [{}]\n", ["g.yaml:3: grid", "did you mean 'grids'"]),
    "unknown key in an entry": (
        HEAD + "grids:\n  - {n_sink: 1}\n  - {window_sise: 4}\n",
        ["g.yaml:5: window_sise: unknown key", "did you mean 'window_size'"],
    ),
    "unknown key in defaults": (
        "sweep: s\ndefaults:\n  modell: demo\ngrids: [{dataset: random, method: dense}]\n",
        ["g.yaml:3: modell: unknown key", "did you mean 'model'", "g.yaml:4: model: is required"],
    ),
    "unknown key in resources": (
        HEAD + "resources: {gpu: 1}\ngrids: [{}]\n",
        ["g.yaml:3: gpu: unknown key", "gpus"],
    ),
    "typo in a method": (
        HEAD + "grids:\n  - method: [dense, streming]\n",
        ["g.yaml:4: method: must be one of dense", "'streming'", "did you mean 'streaming'"],
    ),
    "typo in a data set": (
        HEAD + "grids: [{dataset: wikitext103}]\n",
        ["g.yaml:3: dataset", "did you mean 'wikitext-103'"],
    ),
    "negative window": (
        HEAD + "grids:\n  - window_size: [128,\n                  -1]\n",
        ["g.yaml:5: window_size: must be at least 0, got -1"],
    ),
    "budget of nothing": (
        HEAD + "grids: [{n_sink: 0, window_size: [0, 8]}]\n",
        ["g.yaml:3: window_size", "budget", "at least 1"],
    ),
    "list of nothing": (
        HEAD + "grids: [{n_sink: []}]\n",
        ["g.yaml:3: n_sink: must be", "at least one", "empty list"],
    ),
    "grids of nothing": (HEAD + "grids: []\n", ["g.yaml:3: grids: must not be empty"]),
    "no grids": (HEAD, ["g.yaml", "grids: is required"]),
    "no sweep": (
        "defaults: {model: demo, dataset: random, method: dense}\ngrids: [{}]\n",
        ["g.yaml", "sweep: is required"],
    ),
    "random text of no length": (
        HEAD + "grids: [{max_tokens: null}]\n",
        ["g.yaml:3: max_tokens: must be given for dataset random"],
    ),
    "a stride beyond the window": (
        HEAD + "grids: [{method: recompute, n_sink: 0, window_size: 8, recompute_stride: 10}]\n",
        ["g.yaml:3: recompute_stride: must be at most 9"],
    ),
    "no method anywhere": (
        "sweep: s\ngrids:\n  - {model: random:pythia-70m, dataset: random}\n",
        ["g.yaml:3: method: is required", "defaults"],
    ),
    "zip of unequal lengths": (
        HEAD + "grids:\n  - zip: {n_sink: [1, 2], window_size: [3]}\n",
        ["g.yaml:4: zip", "same length", "n_sink has 2, window_size has 1"],
    ),
    "zip of no list": (
        HEAD + "grids: [{zip: {n_sink: 4}}]\n",
        ["g.yaml:3: n_sink: must be a list", "got 4"],
    ),
    "a key in the entry and in its zip": (
        HEAD + "grids: [{n_sink: 4, zip: {n_sink: [4, 8]}}]\n",
        ["g.yaml:3: n_sink", "in the entry and in its zip"],
    ),
    "duplicate keys": (
        HEAD + "grids:\n  - n_sink: 1\n    window_size: 8\n    n_sink: 2\n",
        ["g.yaml:6: n_sink: given twice", "g.yaml:4"],
    ),
    "tabs": (HEAD + "grids:\n\t- {n_sink: 1}\n", ["g.yaml:4", "a tab", "spaces"]),
    "broken YAML": (HEAD + "grids: [{n_sink: 1}\n", ["g.yaml:", "not valid YAML"]),
    "two documents": (HEAD + "grids: [{}]\n---\na: 1\n", ["g.yaml:4", "a second document"]),
    "a binary file": (b"\x89PNG\r\n\x1a\n\x00\x00", ["g.yaml:1", "not UTF-8 text"]),
    "a binary file that decodes": (b"sweep: \x00\x01", ["g.yaml:1", "control character"]),
    "UTF-16": ((HEAD + "grids: [{}]").encode("utf-16"), ["g.yaml:1", "UTF-8"]),
    "an empty file": ("", ["g.yaml:1", "empty"]),
    "only comments": ("# nothing\n", ["g.yaml:1", "empty"]),
    "a list at the top": ("- a\n- b\n", ["g.yaml:1", "must be a mapping"]),
    "a word at the top": ("hello\n", ["g.yaml:1", "must be a mapping", "'hello'"]),
    "an object": (
        "sweep: !!python/object/apply:os.system [echo]\n",
        ["g.yaml:1: sweep", "tag", "not allowed"],
    ),
    "a sweep name with spaces": (
        HEAD.replace("sweep: s", "sweep: My Sweep") + "grids: [{}]\n",
        ["g.yaml:1: sweep", "a-z, 0-9, - and _", "'My Sweep'"],
    ),
    "text where a number belongs": (
        HEAD + "grids: [{window_size: large}]\n",
        ["g.yaml:3: window_size: must be int, got 'large'"],
    ),
    "a number in octal": (HEAD + "grids: [{n_sink: 010}]\n", ["n_sink: must be int, got '010'"]),
    "true where a number belongs": (
        HEAD + "grids: [{n_sink: true}]\n",
        ["g.yaml:3: n_sink: must be int, got True"],
    ),
    "a number where text belongs": (
        HEAD + "grids: [{model_revision: 1234567}]\n",
        ["g.yaml:3: model_revision", "put it in quotes"],
    ),
    "a number beyond the store's columns": (
        HEAD + "grids: [{seed: 99999999999999999999}]\n",
        ["g.yaml:3: seed: must be at most"],
    ),
    "a mapping where a value belongs": (
        HEAD + "grids: [{n_sink: {a: 1}}]\n",
        ["g.yaml:3: n_sink: must be one value, got a mapping"],
    ),
    "a list in defaults": (
        "sweep: s\ndefaults: {model: [demo, demo]}\ngrids: [{dataset: random, method: dense}]\n",
        ["g.yaml:2: model: must be one value, got a list", "grids"],
    ),
    "a measure that does not exist": (
        HEAD + "grids: [{measure: [qualitty]}]\n",
        ["g.yaml:3: measure: must list some of quality, latency", "did you mean 'quality'"],
    ),
    "a measure that is not a list": (
        HEAD + "grids: [{measure: quality}]\n",
        ["g.yaml:3: measure: must be a list", "[quality]"],
    ),
    "an exclude that matches nothing": (
        HEAD + "grids:\n  - n_sink: [1, 2]\n    exclude:\n      - {n_sink: 3}\n",
        ["g.yaml:6: exclude: matches no combination"],
    ),
    "an exclude with a typo": (
        HEAD + "grids: [{n_sink: [1, 2], exclude: [{n_sinks: 1}]}]\n",
        ["g.yaml:3: n_sinks: unknown key", "did you mean 'n_sink'"],
    ),
    "an exclude that leaves nothing": (
        HEAD + "grids: [{n_sink: [1, 2], exclude: [{method: streaming}]}]\n",
        ["g.yaml:3: exclude: expands to nothing"],
    ),
    "an exclude of everything": (
        HEAD + "grids: [{n_sink: 1, exclude: [{}]}]\n",
        ["g.yaml:3: exclude: must not be empty"],
    ),
    "a priority that is no number": (
        HEAD + "grids: [{priority: high}]\n",
        ["g.yaml:3: priority: must be a whole number, got 'high'"],
    ),
    "two GPUs for one evaluation": (
        HEAD + "resources: {gpus: 2}\ngrids: [{}]\n",
        ["g.yaml:3: gpus: must be 0 or 1", "for now", "got 2"],
    ),
    "no processor": (
        HEAD + "resources: {cpus: 0}\ngrids: [{}]\n",
        ["g.yaml:3: cpus: must be at least 1, got 0"],
    ),
    "ten million combinations": (
        HEAD + f"grids: [{{n_sink: {list(range(3163))}, seed: {list(range(3163))}}}]\n",
        ["g.yaml:3: grids", "10,004,569 combinations", "--yes"],
    ),
    "a text that does not exist": (
        HEAD + "grids:\n  - dataset: file:missing.txt\n",
        ["g.yaml:4: dataset", "missing.txt"],
    ),
    "a model folder that does not exist": (
        HEAD + "grids:\n  - model: ./missing\n",
        ["g.yaml:4: model", "missing"],
    ),
}


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def launch(*arguments: str) -> Result:
    return CliRunner().invoke(sweep, ["launch", "--inline", *arguments])


def refused(result: Result, words: list[str], folder: Path, files: list[str]) -> None:
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    for word in words:
        assert word in result.stderr
    assert sorted(path.name for path in folder.iterdir()) == sorted(files)


@pytest.mark.parametrize(("content", "words"), WRONG.values(), ids=WRONG)
def test_a_wrong_grid_file_is_refused_with_its_place(
    workplace: Path, content: str | bytes, words: list[str]
) -> None:
    data = content.encode() if isinstance(content, str) else content
    (workplace / "g.yaml").write_bytes(data)
    refused(launch("--grid", "g.yaml"), words, workplace, ["g.yaml"])


def test_a_directory_is_no_grid(workplace: Path) -> None:
    (workplace / "grids").mkdir()
    refused(launch("--grid", "grids"), ["grids", "is a directory", "YAML"], workplace, ["grids"])


def test_a_missing_file_is_said_together_with_the_built_in_names(workplace: Path) -> None:
    refused(
        launch("--grid", "quikstart"), ["no such file", "did you mean 'quickstart'"], workplace, []
    )


def test_an_unreadable_file_is_said(workplace: Path) -> None:
    (workplace / "g.yaml").symlink_to("g.yaml")
    refused(launch("--grid", "g.yaml"), ["g.yaml"], workplace, ["g.yaml"])


def test_all_problems_of_a_file_are_said_at_once(workplace: Path) -> None:
    (workplace / "g.yaml").write_text(
        "sweep: S!\n"
        "defaults: {model: random:pythia-70m, dtype: fp16}\n"
        "resources: {gpus: 2, colour: red}\n"
        "grids:\n"
        "  - {dataset: random, method: [streaming, streming], window_size: -1}\n"
        "  - {dataset: random, n_sink: []}\n"
        "  - zip: {n_sink: [1], window_size: [1, 2]}\n"
    )
    result = launch("--grid", "g.yaml")
    expected = [
        "1: sweep",
        "2: dtype",
        "3: gpus",
        "3: colour",
        "5: method",
        "5: window_size",
        "6: method",
        "6: n_sink",
        "7: zip",
        "7: dataset",
        "7: method",
    ]
    refused(result, [f"g.yaml:{place}: " for place in expected], workplace, ["g.yaml"])
    lines = result.stderr.strip().splitlines()
    assert [line for line in lines if not line.startswith("g.yaml:")] == []
    assert len(lines) == len(expected)


@pytest.mark.parametrize(
    ("override", "words"),
    {
        "window_sise=4": ["--set: window_sise: unknown key", "did you mean 'window_size'"],
        "window_size": ["--set", "must be key=value", "'window_size'"],
        "window_size=-4": ["--set: window_size: must be at least 0, got -4"],
        "method=streming": ["--set: method", "did you mean 'streaming'"],
        "resources.gpus=3": ["--set: gpus: must be 0 or 1"],
        "resources.gpu=0": ["--set: resources.gpu: unknown key", "resources.gpus"],
        "n_sink=[": ["--set: n_sink", "not a YAML value"],
        "n_sink=[]": ["--set: n_sink", "empty list"],
        "sweep=A B": ["--set: sweep", "a-z"],
        "grids=[]": ["--set: grids: unknown key"],
    }.items(),
)
def test_a_wrong_override_is_refused(workplace: Path, override: str, words: list[str]) -> None:
    (workplace / "g.yaml").write_text(HEAD + "grids:\n  - {n_sink: [1, 2]}\n  - {n_sink: 4}\n")
    result = launch("--grid", "g.yaml", "--set", override)
    refused(result, words, workplace, ["g.yaml"])
    assert len(result.stderr.strip().splitlines()) == 1
