"""One evaluation from spec to row, on real text and the shipped model."""

import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from orchestrator.driver.loop import LaunchOptions, run_sweep
from orchestrator.executors.inline import InlineExecutor
from orchestrator.progress.snapshot import Silent
from orchestrator.store.store import Store
from orchestrator.sweep import PlannedEvaluation, Resources, Sweep
from tests.support.models import demo, tiny_transformer
from workers.contract.events import (
    DEFAULT_EVALUATOR,
    Assignment,
    Finished,
    Progress,
    SpanDone,
    TokenLosses,
)
from workers.contract.rows import TRIALS
from workers.contract.spec import EvalSpec, loading_key
from workers.host.evaluator_host import EvaluatorHost
from workers.quality import chunks, scoring
from workers.quality.scoring import contiguous
from workers.texts.tokens import TokenisedDocument

SMALL = {
    "model": "demo",
    "dataset": "stdlib",
    "max_documents": 3,
    "max_tokens": 400,
    "window_size": 60,
    "measure": ("quality",),
}
OPTIONS = {"device": "cpu", "num_threads": 1}


@pytest.fixture(scope="module")
def evaluator():
    return EvaluatorHost(DEFAULT_EVALUATOR, OPTIONS)


@pytest.fixture(scope="module")
def eager():
    """An evaluator that hands over and reports after every chunk."""
    at_once = {"span_seconds": 0.0, "progress_seconds": 0.0}
    return EvaluatorHost(DEFAULT_EVALUATOR, {**OPTIONS, **at_once})


def spec(method, **changes):
    return EvalSpec(method=method, **{**SMALL, **changes})


def run(host, evaluated, **assignment):
    events = list(host.events(Assignment(spec=evaluated, sweep="test", **assignment)))
    assert isinstance(events[-1], Finished)
    return events, events[-1].row


def test_a_row_is_complete_and_consistent(evaluator):
    _, row = run(evaluator, spec("streaming"))
    assert row["status"] == "ok", row["traceback"]
    assert list(row) == TRIALS.names
    assert row["n_tokens"] == 3 * 399
    assert row["evicted_tokens"] == 3 * (399 - 64)
    assert row["perplexity"] == pytest.approx(math.exp(row["nll_sum"] / row["n_tokens"]))
    assert row["nll_sum"] == pytest.approx(math.fsum(row["block_nll"]))
    assert sum(row["block_tokens"]) == row["n_tokens"]
    assert row["block_document"] == [0, 0, 1, 1, 2, 2]
    assert row["budget"] == 64
    assert row["compression_ratio"] == pytest.approx(1 - 64 / 400)
    assert (row["perplexity_low"], row["interval_method"]) == (None, "none"), "too little text"
    assert row["first_token"] == "bos"
    assert row["parity_max_abs_diff"] < 1e-4
    assert row["latency_ms_mean"] is None


def test_four_documents_have_an_interval(evaluator):
    _, row = run(evaluator, spec("streaming", max_documents=4, max_tokens=200))
    assert row["perplexity_low"] < row["perplexity"] < row["perplexity_high"]
    assert row["interval_method"] == "documents-t"


def test_bits_per_byte_counts_the_text_behind_the_first_token(evaluator, tmp_path):
    text = "naïve café — 你好, " * 40
    path = tmp_path / "text.txt"
    path.write_text(text, encoding="utf-8")
    changes = {"dataset": f"file:{path}", "max_documents": None, "max_tokens": None}
    _, row = run(evaluator, spec("dense", **changes))
    assert row["status"] == "ok", row["traceback"]
    expected = row["nll_sum"] / math.log(2) / len(text.encode())  # the first token is BOS
    assert row["bits_per_byte"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("dense", {"evicted_tokens": 0, "compression_ratio": 0, "budget": None, "n_sink": None}),
        ("recompute", {"evicted_tokens": None, "compression_ratio": None, "kv_cache_bytes": 0}),
        ("window", {"method": "streaming", "n_sink": 0, "budget": 60}),
    ],
)
def test_what_a_method_does_not_have_is_null(evaluator, method, expected):
    _, row = run(evaluator, spec(method, max_tokens=200, max_documents=1))
    assert row["status"] == "ok", row["traceback"]
    assert {name: row[name] for name in expected} == expected


def test_window_and_streaming_without_sinks_are_one_evaluation(evaluator):
    _, first = run(evaluator, spec("window"))
    _, second = run(evaluator, spec("streaming", n_sink=0))
    assert first["run_id"] == second["run_id"]
    assert first["nll_sum"] == second["nll_sum"]


def test_a_window_longer_than_the_text_never_streams(evaluator):
    _, streaming = run(evaluator, spec("streaming", window_size=1000))
    _, dense = run(evaluator, spec("dense"))
    assert streaming["evicted_tokens"] == 0
    assert streaming["perplexity_after_eviction"] is None
    assert streaming["nll_sum"] == pytest.approx(dense["nll_sum"], rel=1e-6)


def test_stored_spans_are_not_computed_again(evaluator):
    events, undisturbed = run(evaluator, spec("streaming"))
    spans = [event.row for event in events if isinstance(event, SpanDone)]
    assert [span["document"] for span in spans] == [0, 1]
    marked = [{**span, "nll_sum": span["nll_sum"] + 1000} for span in spans]
    events, resumed = run(evaluator, spec("streaming"), spans=marked)
    assert not [event for event in events if isinstance(event, SpanDone)]
    assert resumed["nll_sum"] == pytest.approx(undisturbed["nll_sum"] + 2000)
    assert resumed["n_tokens"] == undisturbed["n_tokens"]
    assert resumed["block_nll"] == undisturbed["block_nll"]


def test_recompute_resumes_in_the_middle_of_a_document(eager):
    whole = spec("recompute", max_documents=1)
    events, undisturbed = run(eager, whole)
    spans = [event.row for event in events if isinstance(event, SpanDone)]
    assert len(spans) > 2
    events, resumed = run(eager, whole, spans=spans[:2])
    assert len([event for event in events if isinstance(event, SpanDone)]) == len(spans) - 2
    assert resumed["nll_sum"] == pytest.approx(undisturbed["nll_sum"], rel=1e-6)
    assert resumed["block_tokens"] == undisturbed["block_tokens"]


def part(document, start, stop):
    return {"document": document, "start": start, "stop": stop}


def test_spans_of_two_drivers_are_joined_without_overlap():
    stored = [part(0, 0, 10), part(0, 0, 15), part(0, 10, 20), part(0, 15, 30), part(1, 5, 9)]
    wanted = [(range(40),), (range(40),)]
    assert contiguous(stored, wanted) == [part(0, 0, 15), part(0, 15, 30)]


def test_spans_join_across_what_is_not_scored():
    wanted = [(range(10, 20), range(30, 40)), ()]
    stored = [part(0, 0, 10), part(0, 10, 20), part(0, 20, 30), part(0, 30, 35), part(0, 36, 40)]
    assert contiguous(stored, wanted) == [part(0, 10, 20), part(0, 30, 35)]
    assert contiguous([part(0, 10, 35), part(0, 35, 40)], wanted) == [
        *(part(0, 10, 35), part(0, 35, 40))
    ]


SAMPLED = {"max_documents": 2, "max_tokens": 1300, "window_size": 28}


def test_a_sample_of_blocks_is_scored_as_the_full_baseline_scores_it(evaluator):
    _, full = run(evaluator, spec("recompute", **SAMPLED))
    _, sample = run(evaluator, spec("recompute", recompute_blocks=3, seed=2, **SAMPLED))
    assert sample["status"] == "ok", sample["traceback"]
    assert sample["run_id"] != full["run_id"]
    assert sample["n_tokens"] == 3 * 256
    assert sample["block_tokens"] == [256] * 3
    assert set(sample["block_document"]) == {0, 1}
    places = list(zip(full["block_document"], full["block_index"], strict=True))
    known = dict(zip(places, full["block_nll"], strict=True))
    for document, index, nll in zip(
        sample["block_document"], sample["block_index"], sample["block_nll"], strict=True
    ):
        assert nll == pytest.approx(known[document, index], rel=1e-5)
    assert sample["bits_per_byte"] is None
    assert sample["token_forwards"] < 0.4 * full["token_forwards"]


def test_a_sample_of_blocks_resumes_between_and_inside_its_blocks(eager):
    sampled = spec("recompute", recompute_blocks=4, **SAMPLED)
    events, undisturbed = run(eager, sampled)
    spans = [event.row for event in events if isinstance(event, SpanDone)]
    assert len(spans) > 4
    for kept in (1, len(spans) // 2, len(spans)):
        _, resumed = run(eager, sampled, spans=spans[:kept])
        assert resumed["block_tokens"] == undisturbed["block_tokens"]
        assert resumed["block_nll"] == pytest.approx(undisturbed["block_nll"], rel=1e-6)
        assert resumed["n_tokens"] == undisturbed["n_tokens"]


def test_a_text_without_a_whole_block_cannot_be_sampled(evaluator):
    _, row = run(evaluator, spec("recompute", recompute_blocks=3, max_tokens=200))
    assert row["status"] == "failed"
    assert "no document has a whole block of 256 scored tokens" in row["error_message"]


def on_a_device_for(queries):
    """`stream_nll` that runs out of memory behind the first chunk if chunks are any larger."""
    right = scoring.stream_nll

    def scarce(model, rotary, ids, visibility, chunk):
        for piece in right(model, rotary, ids, visibility, chunk):
            if chunk > queries and piece.start > 0:
                raise torch.OutOfMemoryError("the device is full")
            yield piece

    return scarce


def test_out_of_memory_halves_the_chunk_and_changes_no_result(evaluator, monkeypatch):
    _, undisturbed = run(evaluator, spec("streaming"))
    monkeypatch.setattr(scoring, "stream_nll", on_a_device_for(64))
    _, row = run(evaluator, spec("streaming"))
    assert row["status"] == "ok", row["traceback"]
    assert row["chunk_size"] == 64
    assert row["nll_sum"] == pytest.approx(undisturbed["nll_sum"], rel=1e-6)
    assert row["n_tokens"] == undisturbed["n_tokens"]


def test_no_query_is_lost_where_a_smaller_chunk_straddles_what_is_done(evaluator, monkeypatch):
    _, undisturbed = run(evaluator, spec("streaming"))
    monkeypatch.setattr(scoring, "stream_nll", on_a_device_for(16))
    _, row = run(evaluator, spec("streaming"), chunk_limit=40)  # 40 is no multiple of 16
    assert row["status"] == "ok", row["traceback"]
    assert (row["chunk_size"], row["n_tokens"]) == (16, undisturbed["n_tokens"])
    assert row["block_tokens"] == undisturbed["block_tokens"]
    assert row["nll_sum"] == pytest.approx(undisturbed["nll_sum"], rel=1e-6)


def test_too_little_memory_for_the_smallest_chunk_fails_clearly(evaluator, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("the device is full")
        yield

    monkeypatch.setattr(scoring, "stream_nll", full)
    _, row = run(evaluator, spec("streaming"))
    assert row["error_type"] == "DeviceMemoryError"
    assert "smallest chunk of 16" in row["error_message"]


def test_the_model_stays_loaded_between_evaluations(evaluator):
    run(evaluator, spec("dense"))
    before = run(evaluator, spec("dense"))[1]["worker_sequence"]
    loaded = evaluator._evaluator.loaded_model
    events, row = run(evaluator, spec("streaming"))
    assert evaluator._evaluator.loaded_model == loaded == loading_key(spec("dense"))
    assert row["worker_sequence"] == before + 1
    assert isinstance(events[0], Progress)


def test_a_failing_evaluation_is_a_failed_row_and_the_next_one_runs(evaluator):
    _, row = run(evaluator, spec("dense", model="random:no-such-shape", dataset="random"))
    assert (row["status"], row["error_type"]) == ("failed", "ModelLoadError")
    assert "no-such-shape" in row["error_message"]
    assert "Traceback" in row["traceback"]
    assert run(evaluator, spec("dense"))[1]["status"] == "ok"


def test_a_one_token_document_is_refused(evaluator, tmp_path):
    (tmp_path / "empty.jsonl").write_text('{"text": "a"}\n')
    changes = {"dataset": f"file:{tmp_path / 'empty.jsonl'}", "max_tokens": None}
    model = {"model": "random:tiny-llama"}
    _, row = run(evaluator, spec("dense", **{**changes, **model}))
    assert row["error_type"] == "CorpusError"
    assert "no tokenizer" in row["error_message"]


@pytest.mark.parametrize("method", ["dense", "streaming", "recompute"])
def test_latency_alone_needs_no_text_and_no_hub(evaluator, method):
    only = {"measure": ("latency",), "model": "random:tiny-neox", "dataset": "random"}
    timing = {"decode_tokens": 8, "warmup_tokens": 2, "repeats": 2}
    _, row = run(evaluator, spec(method, **only, **timing))
    assert row["status"] == "ok", row["traceback"]
    assert row["runtime_ms"] > 0
    assert row["perplexity"] is None
    assert row["bits_per_byte"] is None


def test_a_folder_without_a_tokenizer_is_evaluated_on_token_ids_alone(evaluator, tmp_path):
    tiny_transformer("llama").save_pretrained(tmp_path / "model")
    folder = {"model": str(tmp_path / "model"), "max_documents": 1}
    _, row = run(evaluator, spec("streaming", dataset="random", **folder))
    assert row["status"] == "ok", row["traceback"]
    assert row["bits_per_byte"] is None
    _, row = run(evaluator, spec("streaming", dataset="pydoc", **folder))
    assert row["error_type"] == "ModelRefusedError"
    assert "tokenizer" in row["error_message"]


def test_losses_of_single_tokens_are_stored_on_request(tmp_path):
    wanted = spec("streaming", save_token_nll=True)
    sweep = Sweep("s", Resources(), (PlannedEvaluation(wanted, 0, 0),), 0)
    summary = run_sweep(
        sweep, Store(tmp_path), InlineExecutor(options=OPTIONS), LaunchOptions(), Silent()
    )
    assert summary.ok == 1
    (row,) = Store(tmp_path).results().to_pylist()
    table = pq.read_table(tmp_path / "tokens" / f"{wanted.run_id}.parquet")
    assert table.num_rows == row["n_tokens"]
    assert table["document"].unique().to_pylist() == [0, 1, 2]
    assert sum(table["nll"].to_pylist()) == pytest.approx(row["nll_sum"], rel=1e-6)


def test_a_long_document_reports_where_it_stands(eager):
    events, row = run(eager, spec("streaming", max_documents=2, max_tokens=1000))
    reports = [e for e in events if isinstance(e, Progress) and e.phase == "quality"]
    # The first chunk ends where eviction begins, after B + 1 = 65 queries.
    assert [report.tokens_done for report in reports][:4] == [0, 65, 65 + 256, 65 + 512]
    assert {report.documents_done for report in reports} == {0, 1}
    assert reports[-1].tokens_done == reports[-1].tokens_total == row["n_tokens"]
    assert reports[-1].perplexity == pytest.approx(row["perplexity"])


def test_a_document_with_nothing_to_score_keeps_its_number_among_the_tokens():
    lengths = (5, 1, 4)
    documents = [
        TokenisedDocument(str(length), torch.arange(length), None, False) for length in lengths
    ]
    one = spec("dense", save_token_nll=True)
    whole = scoring.QualityPass(demo(), one, documents, chunks.Chunk(256))
    (losses,) = [event for event in whole.run(()) if isinstance(event, TokenLosses)]
    table = pq.read_table(pa.BufferReader(losses.parquet))
    assert table["document"].to_pylist() == [0] * 4 + [2] * 3
