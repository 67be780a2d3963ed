"""Results in and out: the original experiment's files, other formats, comparisons."""

import csv
import json
from datetime import timedelta

import pandas as pd
import pytest
from click.testing import CliRunner

from analysis.cli import analysis
from analysis.errors import AnalysisError
from analysis.outputs import original_format
from analysis.rows import frames
from orchestrator.store.store import Store
from tests.support.analysis_rows import START, quickstart, row
from workers.contract.spec import EvalSpec

# Numbers of this test's own, in the form of the original experiment's files.
ABLATION = {
    "model": "some/model",
    "dataset": "wikitext:wikitext-103-v1",
    "ablation_type": "window_size",
    "total_tokens": 3000,
    "results": [
        {
            "window_size": window,
            "n_sink": 4,
            "max_cache_size": window + 4,
            "perplexity": 20.5,
            "runtime_sec": seconds,
            "prefill_sec": seconds,
            "compression_ratio": max(0.0, 1 - (window + 4) / 3000),
        }
        for window, seconds in ((128, 0.3), (256, 0.03), (512, 0.031), (4096, 0.03))
    ],
}
COMPARISON = {
    "model": "some/model",
    "dataset": "pg19:",
    "split": "test",
    "max_length": 1024,
    "stride": 512,
    "max_samples": 1,
    "max_eval_tokens": 2000,
    "total_tokens": 2000,
    "streaming_llm": {"n_sink": 4, "window_size": 1024, "max_cache_size": 1028},
    "baseline": {"perplexity": 30.0, "runtime_sec": 2.0, "prefill_sec": 0.2},
    "streaming": {"perplexity": 30.5, "runtime_sec": 1.0, "prefill_sec": 0.1},
    "metrics": {"speedup": 2.0, "compression_ratio": 0.486, "peak_memory_mb": 100.0},
    "device": "cuda",
    "dtype": "torch.float16",
}


@pytest.fixture
def originals(tmp_path):
    folder = tmp_path / "originals"
    folder.mkdir()
    (folder / "ablation_window_size.json").write_text(json.dumps(ABLATION))
    (folder / "pg19_result.json").write_text(json.dumps(COMPARISON))
    return folder


def run(*arguments: object):
    return CliRunner().invoke(analysis, [str(argument) for argument in arguments])


class TestImport:
    def test_rows_hold_what_the_files_say_and_null_for_the_rest(self, originals):
        rows, skipped = original_format.read_originals(originals)
        assert skipped == []
        assert [one["method"] for one in rows] == ["streaming"] * 4 + ["recompute", "streaming"]
        baseline, ours = rows[4:]
        assert (baseline["budget"], baseline["recompute_stride"]) == (1024, 512)
        assert (ours["n_sink"], ours["window_size"], ours["budget"]) == (4, 1024, 1028)
        assert (ours["perplexity"], ours["runtime_ms"], ours["prefill_ms"]) == (30.5, 1000, 100)
        assert (ours["dtype"], ours["dataset"], ours["max_tokens"]) == ("float16", "pg19", 2000)
        for name in (
            "device_name",
            "torch_version",
            "perplexity_low",
            "evicted_tokens",
            "n_documents",
        ):
            assert ours[name] is None, name
        assert {one["source"] for one in rows} == {"imported"}

    def test_only_a_cache_that_holds_the_text_proves_that_nothing_was_evicted(self, originals):
        rows, _ = original_format.read_originals(originals)
        assert [one["evicted_tokens"] for one in rows[:4]] == [None, None, None, 0]

    def test_importing_again_adds_nothing(self, originals, tmp_path):
        store = tmp_path / "store"
        assert run("import", originals, "--store", store).stdout.startswith("6 rows imported")
        assert run("import", originals, "--store", store).stdout.startswith("0 rows imported")
        assert Store(store).results().num_rows == 6

    def test_an_imported_row_never_has_the_run_id_of_a_measurement(self, originals):
        rows, _ = original_format.read_originals(originals)
        spec = EvalSpec(
            model="some/model", dataset="pg19", method="streaming", dtype="float16",
            max_documents=1, max_tokens=2000,
        )  # fmt: skip
        assert spec.run_id not in {one["run_id"] for one in rows}
        assert len({one["run_id"] for one in rows}) == 6

    def test_the_original_mistake_is_found_by_the_audit(self, originals, tmp_path):
        store = tmp_path / "store"
        run("import", originals, "--store", store)
        done = run("audit", "--store", store, "--format", "json", "--strict")
        found = {one["rule"]: one for one in json.loads(done.stdout)}
        assert done.exit_code == 1
        assert len(found["identical-perplexity"]["rows"]) == 3
        assert [name.split(" (")[0] for name in found["cold-start"]["rows"]] == [
            "wikitext-103 StreamingLLM 4+128"
        ]
        assert "never-evicted" in found
        assert "imported" in found

    def test_only_what_a_file_compares_itself_has_a_speedup(self, originals, tmp_path):
        run("import", originals, "--store", tmp_path / "store")
        frame = frames.load(Store(tmp_path / "store"))
        assert frame["speedup"].tolist()[:-1] == pytest.approx([float("nan")] * 5, nan_ok=True)
        assert frame["speedup"].iloc[-1] == 2.0

    def test_other_files_are_skipped_by_name_and_a_folder_without_any_is_an_error(
        self, originals, tmp_path
    ):
        (originals / "notes.json").write_text('{"a": 1}')
        (originals / "broken.json").write_text("{")
        (originals / "part.json").write_text(json.dumps(ABLATION | {"results": [{"n_sink": 4}]}))
        rows, skipped = original_format.read_originals(originals)
        assert len(rows) == 6
        assert [line.split("/")[-1].split(":")[0] for line in skipped] == [
            "broken.json",
            "notes.json",
            "part.json",
        ]
        (tmp_path / "empty").mkdir()
        with pytest.raises(AnalysisError, match="no result file"):
            original_format.read_originals(tmp_path / "empty")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("store"))
    store.append_trials(quickstart())
    return store


class TestExport:
    def test_every_tabular_format_holds_the_same_results(self, store, tmp_path):
        forms = [
            part for form in ("csv", "json", "parquet", "markdown") for part in ("--format", form)
        ]
        assert run("export", tmp_path, "--store", store.uri, *forms).exit_code == 0
        parquet = pd.read_parquet(tmp_path / "results.parquet")
        with (tmp_path / "results.csv").open() as file:
            as_csv = list(csv.DictReader(file))
        as_json = json.loads((tmp_path / "results.json").read_text())
        markdown = (tmp_path / "results.md").read_text().splitlines()
        assert len(parquet) == len(as_csv) == len(as_json) == len(markdown) - 2 == 36
        speedups = parquet["speedup"].dropna().tolist()
        assert [float(one["speedup"]) for one in as_csv if one["speedup"]] == speedups
        assert [one["speedup"] for one in as_json if one["speedup"] is not None] == pytest.approx(
            speedups, rel=1e-14
        )

    def test_the_original_format_survives_a_round_trip(self, store, tmp_path):
        done = run("export", tmp_path / "out", "--store", store.uri, "--format", "original")
        assert done.exit_code == 0, done.output
        content = json.loads((tmp_path / "out" / "pydoc_result.json").read_text())
        frame = frames.load(store)
        ours = frame[frame["budget"].eq(260) & frame["method"].eq("streaming")].iloc[0]
        assert content["streaming"]["perplexity"] == ours["perplexity"]
        assert content["metrics"]["speedup"] == ours["speedup"]
        assert content["metrics"]["peak_memory_mb"] is None
        assert content["streaming_llm"] == {"n_sink": 4, "window_size": 256, "max_cache_size": 260}
        rows, _ = original_format.read_originals(tmp_path / "out")
        again = [one for one in rows if one["dataset"] == "pydoc" and one["budget"] == 260]
        assert ours["perplexity"] in [one["perplexity"] for one in again]
        assert {one["ablation_type"] for one in map(json.loads, ablations(tmp_path / "out"))} == {
            "window_size",
            "n_sink",
        }

    def test_a_place_that_cannot_be_written_is_one_line(self, store, tmp_path):
        (tmp_path / "file").write_text("")
        done = run("export", tmp_path / "file" / "below", "--store", store.uri)
        assert done.exit_code == 1
        assert done.stderr.startswith("Error: cannot write")


def ablations(folder):
    return [path.read_text() for path in folder.glob("ablation_*.json")]


class TestCompare:
    def test_a_store_differs_from_itself_by_nothing(self, store):
        found = json.loads(run("compare", store.uri, store.uri, "--format", "json").stdout)
        assert len(found) == 36
        assert {one["increase"] for one in found} == {0.0}
        assert {one["speedup"] for one in found} == {1.0}

    def test_a_store_compared_with_itself_prints_no_difference_whatever_its_devices(self, tmp_path):
        store = Store(tmp_path)
        for device in ("Test CPU", "GPU 9000"):
            changes = {"device_name": device}
            store.append_trials([row(method="streaming", window_size=64, changes=changes)])
        done = run("compare", store.uri, store.uri)
        assert done.stdout == (
            "2 in common, 2 of them the same rows; only in A: 0, only in B: 0; no differences\n"
        )

    def test_every_line_names_model_text_method_sinks_window_and_devices(self, tmp_path):
        sides = [Store(tmp_path / "a"), Store(tmp_path / "b")]
        for store, device in zip(sides, ("CPU", "GPU"), strict=True):
            changes = {"device_name": device}
            store.append_trials([row(method="streaming", window_size=64, changes=changes)])
        line = run("compare", sides[0].uri, sides[1].uri).stdout.splitlines()[0]
        assert line.startswith("demo, pydoc, StreamingLLM, 4 sinks, window 64, CPU -> GPU: ")

    def test_published_numbers_stand_beside_ours(self, tmp_path):
        store = Store(tmp_path)
        changes = {"perplexity": 9.6, "latency_ms_mean": 62.0}
        cache = {"n_sink": 4, "window_size": 4092}
        one = row(
            model="NousResearch/Llama-2-7b-hf",
            dataset="pg19",
            method="streaming",
            **cache,
            changes=changes,
        )
        store.append_trials([one])
        done = run("compare", store.uri, "--published")
        assert (
            "4 sinks, window 4,092, Test CPU: perplexity 9.60 here, 9.59 published" in done.stdout
        )
        assert "ms per token 62.0 here, 65.0 published (Figure 10, NVIDIA RTX A6000)" in done.stdout
        other = run("compare", store.uri, "--published", "--sweep-a", "nothing")
        assert other.exit_code == 2

    def test_a_change_of_perplexity_and_speed_is_found_with_its_interval(self, tmp_path):
        old, new = Store(tmp_path / "a"), Store(tmp_path / "b")
        one = row(method="streaming", window_size=64, dataset="stdlib")
        worse = [
            nll + 0.01 * n for nll, n in zip(one["block_nll"], one["block_tokens"], strict=True)
        ]
        other = dict(one, row_id="x", eval_version=2, block_nll=worse, perplexity=99.0)
        other["runtime_ms"] = one["runtime_ms"] / 2
        old.append_trials([one])
        new.append_trials([other])
        (found,) = json.loads(run("compare", old.uri, new.uri, "--format", "json").stdout)
        assert found["increase"] == pytest.approx(0.01005, abs=1e-5)
        assert found["increase_low"] == pytest.approx(found["increase_high"])
        assert found["speedup"] == 2

    def test_speeds_of_other_devices_are_not_compared(self, tmp_path):
        sides = [Store(tmp_path / "a"), Store(tmp_path / "b")]
        for store, device in zip(sides, ("CPU", "GPU"), strict=True):
            changes = {"device_name": device}
            store.append_trials([row(method="streaming", window_size=64, changes=changes)])
        done = run("compare", sides[0].uri, sides[1].uri)
        assert "speed not compared" in done.stdout
        assert "1 in common" in done.stdout

    def test_two_sweeps_of_one_store(self, tmp_path):
        store = Store(tmp_path)
        for number, sweep in enumerate(("before", "after")):
            when = START + timedelta(days=number)
            changes = {"sweep": sweep, "torch_version": f"2.{number}", "finished_at": when}
            store.append_trials([row(method="streaming", window_size=64, changes=changes)])
        done = run("compare", store.uri, "--sweep-a", "before", "--sweep-b", "after")
        assert done.exit_code == 0
        assert "1 in common; only in A: 0, only in B: 0" in done.stdout
        assert run("compare", store.uri).exit_code == 2

    def test_nothing_in_common_is_an_error_that_says_what_would_be(self, tmp_path):
        sides = [Store(tmp_path / "a"), Store(tmp_path / "b")]
        sides[0].append_trials([row(method="streaming", window_size=64)])
        sides[1].append_trials([row(method="streaming", window_size=32)])
        done = run("compare", sides[0].uri, sides[1].uri)
        assert done.exit_code == 1
        assert "no evaluation in common" in done.stderr
