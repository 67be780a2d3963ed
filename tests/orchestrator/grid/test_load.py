"""Expansion: which evaluations a grid stands for."""

import re
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import GridError
from orchestrator.grid.load import LARGE, build_grid, builtin_grids, load_grid
from orchestrator.grid.located_yaml import parse_yaml
from orchestrator.sweep import Resources, Sweep
from workers.contract.spec import DEFAULTS as SPEC_DEFAULTS
from workers.contract.spec import FIELD_NAMES

ROOT = Path(__file__).parents[3]
DEFAULTS = {
    "model": "random:pythia-70m",
    "dataset": "random",
    "method": "streaming",
    "max_tokens": 512,
}


def build(*entries: dict[str, Any], overrides: tuple[str, ...] = (), **top: Any) -> Sweep:
    grid = {"sweep": "s", "defaults": DEFAULTS, "grids": list(entries), **top}
    return build_grid(grid, overrides=overrides)


def pairs(sweep: Sweep) -> list[tuple[int, int]]:
    return [(item.spec.n_sink, item.spec.window_size) for item in sweep.evaluations]


axis = st.lists(st.integers(0, 30), min_size=1, max_size=5)


@given(sinks=axis, windows=st.lists(st.integers(1, 30), min_size=1, max_size=5))
@settings(deadline=None)
def test_lists_are_multiplied_and_equal_combinations_folded(
    sinks: list[int], windows: list[int]
) -> None:
    sweep = build({"n_sink": sinks, "window_size": windows})
    expected = set(product(sinks, windows))
    assert set(pairs(sweep)) == expected
    assert len(sweep.evaluations) == len(expected)
    assert sweep.n_folded == len(sinks) * len(windows) - len(expected)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), min_size=1, max_size=6), axis)
@settings(deadline=None)
def test_a_zip_pairs_its_lists_and_multiplies_with_the_rest(
    rows: list[tuple[int, int]], seeds: list[int]
) -> None:
    zipped = {"n_sink": [row[0] for row in rows], "window_size": [row[1] for row in rows]}
    sweep = build({"zip": zipped, "seed": seeds})
    found = {(e.spec.n_sink, e.spec.window_size, e.spec.seed) for e in sweep.evaluations}
    assert found == {(*row, seed) for row in rows for seed in seeds}


@given(sinks=axis, left_out=axis)
@settings(deadline=None)
def test_an_exclude_leaves_out_what_it_matches_and_nothing_else(
    sinks: list[int], left_out: list[int]
) -> None:
    entry = {"n_sink": sinks, "exclude": [{"n_sink": left_out, "method": "streaming"}]}
    kept = set(sinks) - set(left_out)
    if not kept or kept == set(sinks):
        with pytest.raises(GridError):
            build(entry)
    else:
        assert {sink for sink, _ in pairs(build(entry))} == kept


@given(st.permutations(["n_sink", "window_size", "seed"]))
@settings(deadline=None)
def test_the_order_of_keys_does_not_change_the_evaluations(order: list[str]) -> None:
    values = {"n_sink": [0, 4], "window_size": [8, 16], "seed": [0, 1, 2]}
    sweep = build({name: values[name] for name in order})
    reference = build(values)
    assert {e.spec for e in sweep.evaluations} == {e.spec for e in reference.evaluations}


def test_equal_evaluations_of_several_entries_are_one() -> None:
    sweep = build(
        {"method": ["recompute", "streaming"]},
        {"n_sink": [0, 4]},
        {"method": "window"},
        {"method": "dense", "window_size": [1, 2, 3]},
    )
    assert len(sweep.evaluations) == len({e.spec.run_id for e in sweep.evaluations}) == 4
    assert sweep.n_folded == 4


def test_specs_come_out_normalised() -> None:
    (recompute,) = build({"method": "recompute", "n_sink": 4, "window_size": 60}).evaluations
    assert (recompute.spec.n_sink, recompute.spec.window_size) == (0, 64)


def test_a_folded_evaluation_keeps_its_highest_priority_and_first_entry() -> None:
    sweep = build({"n_sink": 4}, {"n_sink": [4, 8], "priority": 5}, {"n_sink": 4, "priority": -1})
    assert [(e.priority, e.entry) for e in sweep.evaluations] == [(5, 0), (5, 1)]


def test_an_entry_replaces_defaults() -> None:
    sweep = build({"method": "dense"}, {})
    assert [e.spec.method for e in sweep.evaluations] == ["dense", "streaming"]


def test_a_list_of_measures_is_one_value_and_a_list_of_lists_an_axis() -> None:
    (one,) = build({"measure": ["latency", "quality"]}).evaluations
    assert one.spec.measure == ("quality", "latency")
    two = build({"measure": [["quality"], ["quality", "latency"]]})
    assert [e.spec.measure for e in two.evaluations] == [("quality",), ("quality", "latency")]
    zipped = build({"zip": {"measure": [["quality"], ["latency"]], "seed": [1, 2]}})
    assert [e.spec.measure for e in zipped.evaluations] == [("quality",), ("latency",)]


def test_a_null_takes_a_default_back() -> None:
    grid = {"sweep": "s", "defaults": {**DEFAULTS, "max_documents": 9}}
    sweep = build_grid({**grid, "grids": [{"max_documents": [None, 5]}, {}]})
    assert [e.spec.max_documents for e in sweep.evaluations] == [None, 5, 9]


def test_an_override_holds_for_every_evaluation() -> None:
    entries = ({"n_sink": [0, 1]}, {"zip": {"n_sink": [2, 3], "seed": [5, 6]}}, {"seed": 9})
    sweep = build(*entries, overrides=("n_sink=7", "dtype=float16", "sweep=other"))
    assert {e.spec.n_sink for e in sweep.evaluations} == {7}
    assert {e.spec.dtype for e in sweep.evaluations} == {"float16"}
    assert {e.spec.seed for e in sweep.evaluations} == {0, 5, 6, 9}
    assert sweep.name == "other"


def test_an_override_may_be_a_list() -> None:
    assert pairs(build({"n_sink": 1}, overrides=("window_size=[8, 16]",))) == [(1, 8), (1, 16)]


def test_an_override_of_a_default_leaves_the_entries_alone() -> None:
    sweep = build({"n_sink": 1}, {}, overrides=("defaults.n_sink=7",))
    assert [e.spec.n_sink for e in sweep.evaluations] == [1, 7]


def test_an_override_may_make_an_exclude_pointless() -> None:
    entry = {"method": ["dense", "streaming"], "exclude": [{"method": "dense"}]}
    (only,) = build(entry, overrides=("method=streaming",)).evaluations
    assert only.spec.method == "streaming"


@pytest.mark.parametrize(
    ("resources", "override", "expected"),
    [
        ({}, (), Resources()),
        ({"gpus": 1, "cpus": 4}, (), Resources(gpus=1, cpus=4)),
        ({"gpus": 1, "accelerator": "H200"}, (), Resources(gpus=1, accelerator="H200")),
        ({"gpus": 1}, ("resources.gpus=0",), Resources(gpus=0)),
        ({}, ("resources.cpus=2",), Resources(cpus=2)),
    ],
)
def test_resources_are_read_and_overridden(
    resources: dict[str, Any], override: tuple[str, ...], expected: Resources
) -> None:
    assert build({}, overrides=override, resources=resources).resources == expected


def test_a_default_revision_belongs_to_the_default_model_alone(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a text")
    own = f"file:{tmp_path / 'a.txt'}"
    revision = build({"dataset": own}).evaluations[0].spec.dataset_revision
    grid = {
        "sweep": "s",
        "defaults": {**DEFAULTS, "dataset": own, "dataset_revision": revision},
        "grids": [{}, {"dataset": "random"}],
    }
    specs = [e.spec for e in build_grid(grid).evaluations]
    assert [spec.dataset_revision for spec in specs] == [revision, None]
    with pytest.raises(GridError, match="dataset_revision"):
        build_grid({**grid, "grids": [{"dataset": "random", "dataset_revision": "0" * 40}]})


def test_the_run_id_follows_the_content_of_a_file_not_its_path(tmp_path: Path) -> None:
    first, second = tmp_path / "a.txt", tmp_path / "moved.txt"
    first.write_text("one text")

    def run_id(path: Path) -> str:
        return build({"dataset": f"file:{path}"}).evaluations[0].spec.run_id

    before = run_id(first)
    first.rename(second)
    assert run_id(second) == before
    second.write_text("another text")
    assert run_id(second) != before


def test_paths_are_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "grids").mkdir()
    (tmp_path / "text.txt").write_text("a text")
    file = tmp_path / "grids" / "g.yaml"
    file.write_text(
        "{sweep: s, grids: [{model: random:pythia-70m, dataset: file:text.txt, method: dense}]}"
    )
    monkeypatch.chdir(tmp_path)
    (only,) = load_grid("grids/g.yaml").evaluations
    assert only.spec.dataset == f"file:{tmp_path / 'text.txt'}"


def test_a_large_grid_is_counted_before_it_is_built_and_needs_a_confirmation() -> None:
    seeds = list(range(LARGE // 1000))
    grid = {
        "sweep": "s",
        "defaults": DEFAULTS,
        "grids": [{"seed": seeds, "window_size": list(range(1, 1002))}],
    }
    with pytest.raises(GridError, match=r"1,001,000 combinations.*--yes"):
        build_grid(grid)
    few = {**grid, "grids": [{"seed": [0] * 1001, "exclude": [{"seed": list(range(1, 9))}]}]}
    with pytest.raises(GridError, match="matches no combination"):
        build_grid(few, confirm_large=True)


def test_the_mapping_that_a_grid_was_built_from_is_left_alone() -> None:
    grid = {"sweep": "s", "defaults": dict(DEFAULTS), "grids": [{"n_sink": [1, 2]}]}
    build_grid(grid, overrides=("n_sink=3", "defaults.seed=1", "sweep=t"))
    assert grid == {"sweep": "s", "defaults": DEFAULTS, "grids": [{"n_sink": [1, 2]}]}


def test_code_may_give_tuples_and_ranges() -> None:
    sweep = build_grid({"sweep": "s", "defaults": DEFAULTS, "grids": ({"n_sink": range(3)},)})
    assert [e.spec.n_sink for e in sweep.evaluations] == [0, 1, 2]


def test_aliases_and_byte_order_marks_are_fine(tmp_path: Path) -> None:
    file = tmp_path / "g.yaml"
    file.write_bytes(
        b"\xef\xbb\xbfsweep: s\n"
        b"defaults: {model: random:pythia-70m, dataset: random, max_tokens: 64}\n"
        b"grids:\n  - {method: streaming, n_sink: &sinks [1, 2]}\n"
        b"  - {method: window, window_size: *sinks}\n"
    )
    assert len(load_grid(str(file)).evaluations) == 4


def test_aliases_of_aliases_do_not_fill_the_memory(tmp_path: Path) -> None:
    lines = ["a0: &a0 [1, 1]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    (tmp_path / "g.yaml").write_text("\n".join(lines))
    with pytest.raises(GridError, match="too many values"):
        load_grid(str(tmp_path / "g.yaml"))


def test_the_users_example_is_the_ablation_of_the_paper() -> None:
    sweep = load_grid(str(ROOT / "ablations.yaml"))
    specs = [item.spec for item in sweep.evaluations]
    assert (sweep.name, len(specs), sweep.n_folded) == ("ablations", 14, 2)
    assert {spec.model for spec in specs} == {"EleutherAI/pythia-70m"}
    assert {spec.model_revision for spec in specs} == {"a39f36b100fe8a5377810d56c3f4789b9c53ac42"}
    assert {spec.dataset_revision for spec in specs} == {
        "b08601e04326c79dfdd32d625aee71d232d685c3",
        "c5e39bf32e33f9111323aa68d7d9000d22722035",
    }
    assert sum(spec.method == "recompute" for spec in specs) == 2
    windows = {s.window_size for s in specs if s.method == "streaming" and s.n_sink == 4}
    assert windows == {128, 256, 512, 1024, 2048, 4096}
    sinks = {s.n_sink for s in specs if s.method == "streaming" and s.window_size == 1024}
    assert sinks == {0, 1, 2, 4, 8, 16}


def test_the_quickstart_covers_what_the_figures_need() -> None:
    sweep = load_grid("quickstart", overrides=("model=random:pythia-14m",))
    specs = [item.spec for item in sweep.evaluations]
    for dataset in ("pydoc", "stdlib"):
        of_one = [spec for spec in specs if spec.dataset == dataset]
        streaming = [spec for spec in of_one if spec.method == "streaming"]
        assert {"dense", "recompute", "streaming"} == {spec.method for spec in of_one}
        assert {16, 32, 64, 128, 256, 512} <= {spec.window_size for spec in streaming}
        assert {0, 1, 2, 4, 8, 16} <= {spec.n_sink for spec in streaming}
        baselines = {spec.budget for spec in of_one if spec.method == "recompute"}
        assert baselines <= {spec.budget for spec in streaming}
        assert all(spec.max_tokens - 1 > (spec.budget or 0) for spec in of_one)


def test_built_in_grids_are_found_by_name() -> None:
    assert {"quickstart", "paper-table-1", "paper-table-2", "paper-cache-size"} <= set(
        builtin_grids()
    )
    figure = load_grid("paper-figure-10")
    assert {e.spec.budget for e in figure.evaluations} == {256, 512, 1024, 2048, 4096}
    assert {e.spec.measure for e in figure.evaluations} == {("latency",)}


PAPER = {"paper-table-1": 4, "paper-table-2": 20, "paper-cache-size": 16}


@pytest.mark.parametrize(("name", "count"), PAPER.items())
def test_the_papers_tables_expand_to_their_cells(name: str, count: int) -> None:
    # Any 40 digits are a commit; pinned, nothing is looked up on the Hub.
    sweep = load_grid(name, overrides=(f"model_revision={'a' * 40}",))
    assert (len(sweep.evaluations), sweep.n_folded) == (count, 0)


def documentation() -> str:
    return (ROOT / "docs" / "grids.md").read_text()


def test_the_example_of_the_documentation_expands_as_it_says(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", documentation(), re.DOTALL)
    (tmp_path / "g.yaml").write_text(example)
    sweep = load_grid(str(tmp_path / "g.yaml"), overrides=("model=random:tiny-neox",))
    assert len(sweep.evaluations) == 6 + 4 + 3
    assert sweep.resources == Resources(gpus=0)


def test_every_field_and_built_in_grid_is_documented() -> None:
    documented = re.findall(r"^\| `([\w-]+)` \|", documentation(), re.MULTILINE)
    assert sorted(documented) == sorted([*FIELD_NAMES, *builtin_grids()])
    for name, default in SPEC_DEFAULTS.items():
        (shown,) = re.findall(rf"^\| `{name}` \| ([^|]+) \|", documentation(), re.MULTILINE)
        value = list(default) if isinstance(default, tuple) else default
        assert default is None or str(value).replace("'", "").lower() == shown.strip("`").lower()


def test_the_messages_in_the_documentation_are_real(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (messages,) = re.findall(r"```\n(g.yaml.*?)```", documentation(), re.DOTALL)
    (tmp_path / "g.yaml").write_text(
        "sweep: s\ndefaults: {model: random:tiny-neox, dataset: random, max_tokens: 9}\ngrids:\n"
        "  - method: [dense, streming]\n  - method: dense\n"
        "    zip: {n_sink: [1], window_size: [1, 2]}\n"
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(GridError) as caught:
        load_grid("g.yaml")
    assert str(caught.value) == messages.strip()


MERGED = """sweep: m
defaults: {model: demo, dataset: pydoc, method: streaming}
grids:
  - &base
    max_tokens: 300
    window_size: [16, 32]
  - &other {n_sink: 2, max_tokens: 99}
  - <<: *base
    n_sink: 8
  - <<: [*other, *base]
    "<<": plain
"""


def test_merge_keys_take_over_what_is_not_given_and_keep_its_line() -> None:
    found = parse_yaml(MERGED.replace('    "<<": plain\n', ""), "m.yaml")
    assert found.value["grids"][2] == {"max_tokens": 300, "window_size": [16, 32], "n_sink": 8}
    assert found.value["grids"][3] == {"n_sink": 2, "max_tokens": 99, "window_size": [16, 32]}
    assert found.place(("grids", 2, "n_sink")) == "m.yaml:9"
    assert found.place(("grids", 2, "window_size", 1)) == "m.yaml:6"
    assert found.place(("grids", 3, "max_tokens")) == "m.yaml:7"
    # A key in quotes is a key like any other.
    assert parse_yaml(MERGED, "m.yaml").value["grids"][3]["<<"] == "plain"


def test_mistakes_in_merged_mappings_are_said_once_with_their_line() -> None:
    text = "sweep: m\ndefaults: &b {model: demo, model: x}\ngrids:\n  - <<: *b\n  - <<: 7\n"
    problems = parse_yaml(text, "m.yaml").problems
    assert [str(problem).split(";")[0] for problem in problems] == [
        "m.yaml:2: model: given twice (first at m.yaml:2)",
        "m.yaml:5: <<: must be an alias of a mapping, or a list of such, for example <<: *base",
    ]


def test_a_mapping_that_is_only_taken_over_may_stand_aside() -> None:
    base = {"model": "demo", "dataset": "pydoc"}
    grid = {"sweep": "m", "x-base": base, "grids": [{**base, "method": "dense"}]}
    assert len(build_grid(grid).evaluations) == 1
    with pytest.raises(GridError, match=r"base: unknown key.*may be called x-NAME"):
        build_grid({"base": grid.pop("x-base"), **grid})


def test_json_may_spell_a_character_as_two() -> None:
    assert parse_yaml('{"sweep": "\\ud83d\\ude00"}', "m.json").value == {"sweep": "\U0001f600"}
    (problem,) = parse_yaml('{"sweep": "\\ud83d"}', "m.json").problems
    assert "one half of a character" in str(problem)
