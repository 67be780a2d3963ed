"""Tables: words for people, numbers with their bounds for programs, escaped by their format."""

import csv
import io
import json
import re

import pytest
from click.testing import CliRunner

from analysis.cli import analysis
from analysis.outputs import columns, table
from analysis.rows import blocks, frames
from orchestrator.store.store import Store
from tests.support.analysis_rows import row
from tests.support.analysis_rows import table as arrow

NAME = "A_B & 100 % $x$ | #1"


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    """Two models on one device, one of them on another as well; one dense result alone there."""
    store = Store(tmp_path_factory.mktemp("table"))
    methods = ("streaming", "recompute")
    store.append_trials(
        [
            *(row(method=m, window_size=w) for m in methods for w in (64, 128)),
            *(row(method=m, window_size=64, model="some/b", model_revision="b") for m in methods),
            *(row(method=m, window_size=64, changes={"device_name": NAME}) for m in methods),
            row(method="dense", changes={"device_name": "lone"}),
        ]
    )
    return store


def run(store: Store, *arguments: str):
    done = CliRunner().invoke(analysis, ["table", "--store", store.uri, *arguments])
    assert done.exit_code == 0, done.output
    return done


def lines(store: Store, *arguments: str) -> list[dict]:
    return json.loads(run(store, "--format", "json", *arguments).stdout)


def test_models_and_devices_stand_in_one_table_and_what_is_left_out_is_named(store):
    done = run(store, "--format", "json")
    found = json.loads(done.stdout)
    places = {(one["model"], one["device"]) for one in found}
    assert places == {("demo", "Test CPU"), ("demo", NAME), ("some/b", "Test CPU")}
    assert "demo on lone is left out (--all shows it)" in done.stderr


def test_all_shows_every_result(store):
    assert len(lines(store, "--all")) == 9


def test_numbers_are_numbers_with_their_bounds_and_units_in_their_names(store):
    frame = frames.load(store).set_index("run_id")
    for one in lines(store, "--all"):
        source = frame[frame["device_name"].eq(one["device"])].loc[one["run_id"]]
        assert one["perplexity"] == source["perplexity"]
        assert one["perplexity_low"] < one["perplexity"] < one["perplexity_high"]
        assert one["runtime_ms"] == pytest.approx(source["runtime_ms"])
        assert one["runtime_ms_low"] == source["runtime_ms_min"]
        if one["method"] == "StreamingLLM":
            assert one["speedup_low"] < one["speedup"] < one["speedup_high"]
            assert one["increase_percent_low"] < one["increase_percent"]
            ratio = source["perplexity"] / source["baseline_perplexity"]
            assert one["increase_percent"] == pytest.approx(100 * (ratio - 1))
            assert one["compression_percent"] == pytest.approx(100 * source["compression_ratio"])
        else:
            assert one["speedup"] is None


def test_csv_and_json_hold_the_same_numbers(store):
    as_csv = csv.DictReader(io.StringIO(run(store, "--format", "csv").stdout))
    for ours, other in zip(as_csv, lines(store), strict=True):
        assert {k: "" if v is None else str(v) for k, v in other.items()} == ours


def test_columns_are_chosen_in_order_and_may_be_any_of_the_store(store):
    done = run(store, "--columns", "perplexity, dataset,hostname", "--all")
    assert done.stdout.splitlines()[0].split() == ["perplexity", "dataset", "hostname"]
    assert "testhost" in done.stdout


def test_a_mistyped_column_is_refused_with_the_right_one(store):
    wrong = CliRunner().invoke(analysis, ["table", "--store", store.uri, "--columns", "perplexty"])
    assert wrong.exit_code == 2
    assert "did you mean 'perplexity'?" in wrong.stderr


def test_a_latex_table_has_rules_units_in_its_head_intervals_and_escaped_names(store):
    text = run(store, "--format", "latex").stdout
    needs = "% needs \\usepackage{booktabs}\n"
    assert text.startswith(needs + "\\begin{tabular}{llllrrrrrrr}\n\\toprule\n")
    head = text.splitlines()[3]
    assert r"runtime (ms) & speedup ($\times$) & compression (\%)" in head
    assert r"A\_B \& 100 \% \$x\$ \textbar{} \#1" in text
    ours = next(line for line in text.splitlines() if "4 + 128" in line)
    assert ours.count("[") == 4
    assert text.rstrip().endswith("\\bottomrule\n\\end{tabular}")


def test_a_pipe_in_a_name_does_not_break_a_markdown_row(store):
    done = run(store, "--format", "markdown").stdout.splitlines()
    assert {len(line.replace("\\|", "").split("|")) for line in done} == {13}


def test_bold_is_the_lowest_only_where_it_is_distinguishable():
    clear = [row(method="streaming", window_size=w) for w in (32, 256)]
    twin = dict(clear[1], row_id="twin", run_id="twin", perplexity=clear[1]["perplexity"] * 1.0)
    for rows, expected in ((clear, {clear[1]["row_id"]}), ([*clear, twin], set())):
        stored = arrow([dict(one, beyond_training_length=False) for one in rows])
        frame = frames.tidy(stored).assign(quality_unusable=None)
        assert table.best(frame, blocks.from_table(stored)) == expected


def test_what_cannot_be_used_is_marked_and_infinity_is_not_a_missing_value():
    stored = arrow([row(method="dense", changes={"perplexity": float("inf")})])
    frame = columns.prepared(frames.tidy(stored).assign(quality_unusable="parity"), {})
    shown = columns.chosen((), frame)
    assert re.search(r"∞ \[.+\] †", table.render_table(frame, shown, {}, "text"))
    (line,) = json.loads(table.render_table(frame, shown, {}, "json"))
    assert (line["perplexity"], line["quality_unusable"]) == ("Infinity", "parity")


def test_people_read_a_minus_sign_and_programs_a_number():
    stored = arrow([row(method="streaming", window_size=64)])
    bounds = {"increase_low": -0.203, "increase_high": 0.0792}
    frame = columns.prepared(frames.tidy(stored), {}).assign(perplexity_increase=-0.0728, **bounds)
    shown = columns.chosen(["increase", "perplexity_increase"], frame)
    wanted = {"text": "−7.28 % [−20.3, +7.92]", "latex": "$-$7.28 [$-$20.3, +7.92] & $-$0.0728"}  # noqa: RUF001
    for form, words in wanted.items():
        assert words in table.render_table(frame, shown, {}, form)
    assert r"−7.28 % \[−20.3, +7.92\]" in table.render_table(frame, shown, {}, "markdown")  # noqa: RUF001
    (line,) = json.loads(table.render_table(frame, shown, {}, "json"))
    assert (line["increase_percent_low"], line["perplexity_increase"]) == (-20.3, -0.0728)
    assert "-7.28," in table.render_table(frame, shown, {}, "csv")
