"""What the original experiment reported comes in as such, is shown as such, and comes out."""

import json
from copy import deepcopy

import pytest
from click.testing import CliRunner

from analysis.cli import analysis
from analysis.figures import ablation, main_comparison, registry, results_summary
from analysis.rows import comparable, frames, headline
from orchestrator.store.store import Store
from tests.support.analysis_rows import quickstart

# Numbers of this test's own, in the shapes of the original experiment's public files.
MAIN = {
    "model": "some/model-70m",
    "dataset": "wikitext:wikitext-103-v1",
    "split": "test",
    "max_length": 2000,
    "stride": 1000,
    "max_samples": 64,
    "max_eval_tokens": 4000,
    "total_tokens": 3000,
    "streaming_llm": {"n_sink": 4, "window_size": 1024, "max_cache_size": 1028},
    "baseline": {"perplexity": 20.0, "runtime_sec": 12.125, "prefill_sec": 0.1},
    "streaming": {"perplexity": 20.5, "runtime_sec": 5.3, "prefill_sec": 0.2},
    "metrics": {
        "speedup": 2.2877358490566038,
        "compression_ratio": 0.6573333333333333,
        "ppl_increase_percent": 2.5,
        "peak_memory_mb": 356.240234375,
    },
    "device": "cuda",
    "dtype": "torch.float16",
}
RICH = {
    **{k: v for k, v in MAIN.items() if k not in ("baseline", "streaming", "metrics")},
    "model": "some/model-2.8b",
    "dataset": "pg19:pg19",
    "streaming_llm": {
        "n_sink": 32,
        "window_size": 992,
        "cache_slack": 0,
        "implementation": "ours",
        "max_cache_size": 1024,
    },
    "baseline_source": "loaded:somewhere/pg19_baseline.json",
    "env": {"gpu_name": "Some GPU", "torch": "2.9.1+cu128", "cuda": "12.8", "driver": "535"},
    "baseline": {
        "perplexity": 19.76,
        "perplexity_std": 0.0,
        "runtime_sec": 1758.04,
        "first_token_latency_sec": 0.09,
        "decode_tokens": 1752,
        "tpot_ms": 97.9,
        "peak_memory_mb": 5722.5,
    },
    "streaming": {
        "perplexity": 20.31,
        "perplexity_std": 0.0,
        "runtime_sec": 258.2,
        "first_token_latency_sec": 0.21,
        "decode_tokens": 1752,
        "tpot_ms": 14.36,
        "peak_memory_mb": 6941.4,
    },
    "metrics": {"speedup": 6.8, "tpot_ms": 14.36},
    "repeats": {"warmup": 0, "runs": 1, "run_paths": ["runs/run_1.json"]},
}
COMPRESSION = {k: v for k, v in MAIN.items() if k != "streaming"} | {
    "streaming_llm": MAIN["streaming_llm"] | {"compression_ratio": 0.498},
    "kvpress": {"perplexity": 20.0, "runtime_sec": 0.07, "prefill_sec": 0.07},
}
BASELINE_ONLY = {k: v for k, v in MAIN.items() if k not in ("streaming", "metrics")}
BARE = {k: v for k, v in MAIN.items() if k not in ("dtype", "split", "device", "max_samples")}


def ablation_file(varied: str, values: tuple[int, ...], **head: object) -> dict:
    fixed = {"n_sink": 4, "window_size": 1024}
    return {
        "model": "some/model-70m",
        "dataset": "wikitext:wikitext-103-v1",
        "ablation_type": varied,
        "total_tokens": 3000,
        **head,
        "results": [
            {
                **(fixed | {varied: value}),
                "max_cache_size": sum((fixed | {varied: value}).values()),
                "perplexity": 25.0 - number,
                "runtime_sec": 10.0 + 0.1 * number,
                "prefill_sec": 0.01,
                "compression_ratio": 0.5,
            }
            for number, value in enumerate(values)
        ],
    }


SHAPES = {
    "main": MAIN,
    "2.8B with every optional field": RICH,
    "compression": COMPRESSION,
    "baseline alone": BASELINE_ONLY,
    "without optional fields": BARE,
    "window ablation": ablation_file("window_size", (128, 256, 512)),
    "sink ablation": ablation_file("n_sink", (0, 1, 4, 16)),
    "2.8B ablation": ablation_file("n_sink", (0, 4), model="some/model-2.8b", env={"torch": "2"}),
}


def run(*arguments: object):
    return CliRunner().invoke(analysis, [str(argument) for argument in arguments])


def imported(folder, files: dict[str, dict]) -> Store:
    """Write the files, import them, return the store."""
    source = folder / "reports"
    for name, content in files.items():
        path = source / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    store = Store(folder / "store")
    done = run("import", source, "--store", store.uri)
    assert done.exit_code == 0, done.output
    assert done.stderr == ""
    return store


@pytest.fixture
def original(tmp_path) -> Store:
    """The four files of one set: a comparison on each of two texts, both ablations."""
    pg19 = deepcopy(MAIN) | {"dataset": "pg19:", "total_tokens": 4000, "max_samples": 1}
    return imported(
        tmp_path,
        {
            "wikitext_result": MAIN,
            "pg19_result": pg19,
            "ablation_window_size": SHAPES["window ablation"],
            "ablation_n_sink": SHAPES["sink ablation"],
        },
    )


class TestRoundTrip:
    @pytest.mark.parametrize("shape", SHAPES)
    def test_every_shape_comes_back_field_for_field(self, tmp_path, shape):
        store = imported(tmp_path, {"below/some_result": SHAPES[shape]})
        done = run("export", tmp_path / "out", "--store", store.uri, "--format", "original")
        assert done.exit_code == 0, done.output
        (path,) = (tmp_path / "out").rglob("*.json")
        assert path == tmp_path / "out" / "below" / "some_result.json"
        assert json.loads(path.read_text()) == SHAPES[shape]
        assert list(json.loads(path.read_text())) == list(SHAPES[shape])

    def test_two_sets_and_measured_rows_come_out_side_by_side(self, tmp_path):
        store = imported(tmp_path / "a", {"one": MAIN})
        other = deepcopy(MAIN)
        other["streaming"]["perplexity"] = 21.0
        (tmp_path / "later").mkdir()
        (tmp_path / "later" / "one.json").write_text(json.dumps(other))
        assert run("import", tmp_path / "later", "--store", store.uri).exit_code == 0
        store.append_trials(quickstart(["pydoc"]))
        out = tmp_path / "out"
        assert run("export", out, "--store", store.uri, "--format", "original").exit_code == 0
        assert json.loads((out / "reports" / "one.json").read_text()) == MAIN
        assert json.loads((out / "later" / "one.json").read_text()) == other
        assert (out / "pydoc_result.json").exists()

    def test_an_ablation_that_was_filtered_keeps_the_entries_that_were_asked_for(self, original):
        out = original.storage.local_root / "out"
        where = ("--where", "n_sink=16", "--format", "original")
        assert run("export", out, "--store", original.uri, *where).exit_code == 0
        (path,) = out.glob("*.json")
        assert [one["n_sink"] for one in json.loads(path.read_text())["results"]] == [16]


class TestReportedPairs:
    def test_a_file_pairs_what_it_compares(self, original):
        frame = frames.load(original)
        ours = frame[frame["speedup"].notna()].set_index("dataset").loc["wikitext-103"]
        assert ours["speedup"] == pytest.approx(MAIN["metrics"]["speedup"])
        assert 100 * ours["perplexity_increase"] == pytest.approx(2.5)
        assert (ours["baseline_perplexity"], ours["perplexity"]) == (20.0, 20.5)

    def test_an_unusable_baseline_is_no_partner(self, tmp_path):
        same = deepcopy(MAIN)
        same["streaming"]["perplexity"] = same["baseline"]["perplexity"]
        frame = frames.load(imported(tmp_path, {"same": same}))
        assert frame["quality_unusable"].tolist() == ["identical-perplexity"] * 2
        assert frame[["speedup", "perplexity_increase"]].isna().all().all()

    def test_reported_rows_never_stand_among_measured_ones(self, original):
        original.append_trials(quickstart(["pydoc", "wikitext-103"]))
        frame = frames.load(original)
        partners = frame.set_index("row_id")["source"]
        paired = frame[frame["quality_partner"].notna()]
        assert (partners.loc[paired["quality_partner"]].to_numpy() == paired["source"]).all()
        chosen = comparable.choose(frame)
        assert set(chosen.rows["source"]) == {"measured"}
        assert ("other_model", 11) in chosen.left_out


class TestShown:
    def test_a_file_without_number_format_is_not_stated_and_not_another_one(self, original):
        chosen = comparable.choose(frames.load(original))
        assert chosen.left_out == ()
        assert chosen.setting["dtype"] == "float16"
        assert len(chosen.rows) == 11

    def test_the_comparison_shows_both_bars_of_the_file_and_no_remedy(self, original):
        data = headline.select_headline(comparable.choose(frames.load(original)))
        assert data.datasets == ["pg19", "wikitext-103"]
        assert data.baseline["perplexity"].tolist() == [20.0, 20.0]
        assert data.streaming["runtime_ms"].tolist() == [5300.0, 5300.0]
        assert data.missing == ()

    def test_an_ablation_shows_its_own_file_alone(self, original):
        chosen = comparable.choose(frames.load(original))
        windows = ablation.select_window_size(chosen).rows
        assert windows["window_size"].tolist() == [128, 256, 512]
        sinks = ablation.select_n_sink(chosen).rows
        assert sinks["n_sink"].tolist() == [0, 1, 4, 16]
        assert sinks["runtime_ms"].tolist() == [10000, 10100, 10200, 10300]

    def test_figures_and_table_say_that_nothing_was_measured_here(self, original, tmp_path):
        out = tmp_path / "figures"
        done = run("plot", "--store", original.uri, "--out", out, "--format", "svg")
        assert done.exit_code == 0, done.output
        assert "make them with" not in done.stderr
        table = run("table", "--store", original.uri)
        assert "As reported, not measured here." in table.stdout
        assert "2.29×" in table.stdout  # noqa: RUF001
        assert "+2.50 %" in table.stdout
        assert len(list(results_summary.select(
            comparable.choose(frames.load(original))).rows.index)) == 4  # fmt: skip

    def test_the_increase_stands_under_each_text_without_an_invented_interval(self, original):
        from analysis.drawing.style import Look

        chosen = comparable.choose(frames.load(original))
        with Look().drawing():
            figure = registry.FAMILIES["main_comparison"].draw(
                main_comparison.select(chosen), {}, Look()
            )
        names = [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
        assert names[1] == "wikitext-103\n+2.50 %"


def test_a_file_with_a_wrong_type_is_skipped_by_name(tmp_path):
    wrong = deepcopy(MAIN)
    wrong["baseline"]["perplexity"] = "high"
    (tmp_path / "a.json").write_text(json.dumps(wrong))
    (tmp_path / "b.json").write_text(json.dumps(MAIN))
    done = run("import", tmp_path, "--store", tmp_path / "store")
    assert done.exit_code == 0
    assert "2 rows imported" in done.stdout
    assert "a.json" in done.stderr
