"""The identity of an evaluation: normalisation, run ids, and what may be asked for."""

import json
from dataclasses import asdict, replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.contract.errors import SpecError
from workers.contract.spec import (
    DEFAULTS,
    EVAL_VERSION,
    EvalSpec,
    columns,
    from_columns,
    identity,
)

BASE = EvalSpec(model="demo", dataset="pydoc", method="streaming")

specs = st.builds(
    EvalSpec,
    model=st.sampled_from(["demo", "EleutherAI/pythia-70m", "/models/a", "random:pythia-70m"]),
    dataset=st.sampled_from(["pydoc", "pg19", "random", "file:/texts/a.txt", "file:b.json#body"]),
    method=st.sampled_from(["dense", "recompute", "streaming", "window"]),
    model_revision=st.none() | st.sampled_from(["abc", "def"]),
    dataset_revision=st.none() | st.sampled_from(["abc", "def"]),
    dtype=st.sampled_from(["float32", "float16", "bfloat16"]),
    split=st.sampled_from(["test", "train"]),
    max_documents=st.none() | st.integers(1, 5),
    max_tokens=st.integers(2, 9000),
    n_sink=st.integers(0, 16),
    window_size=st.integers(1, 4096),
    recompute_stride=st.integers(1, 2),
    measure=st.sampled_from(
        [["quality"], ["latency"], ["quality", "latency"], ["latency", "quality"]]
    ),
    decode_tokens=st.integers(1, 512),
    warmup_tokens=st.integers(0, 32),
    repeats=st.integers(1, 9),
    seed=st.integers(0, 9),
    trust_remote_code=st.booleans(),
    save_token_nll=st.booleans(),
)


@given(specs)
def test_a_spec_is_normal_and_stays_what_it_is_when_it_is_built_again(spec: EvalSpec) -> None:
    assert spec.method != "window"
    assert replace(spec) == spec


@given(specs)
def test_a_row_gives_back_the_spec_it_was_written_for(spec: EvalSpec) -> None:
    assert from_columns(columns(spec)) == spec


@given(specs)
def test_a_run_id_is_the_hash_that_the_contract_describes(spec: EvalSpec) -> None:
    values = asdict(spec) | {"measure": list(spec.measure)}
    defaults = {**DEFAULTS, "measure": ["quality", "latency"]}
    kept = {k: v for k, v in values.items() if k not in defaults or v != defaults[k]}
    if spec.model.startswith("/"):
        kept["model"] = "folder:"
    kept["dataset"] = {
        "file:/texts/a.txt": "file:txt",
        "file:b.json#body": "file:json#body",
    }.get(spec.dataset, spec.dataset)
    payload = {"eval_version": EVAL_VERSION, "spec": kept}
    text = json.dumps(payload, sort_keys=True, separators=(",", ":"))
    assert spec.run_id == sha256(text.encode()).hexdigest()[:16]


@given(specs, st.integers(0, 16), st.integers(1, 4096))
def test_dense_has_no_use_for_sinks_and_windows(spec: EvalSpec, n_sink: int, window: int) -> None:
    dense = replace(spec, method="dense")
    assert dense.run_id == replace(dense, n_sink=n_sink, window_size=window).run_id
    assert dense.budget is None
    assert columns(dense)["n_sink"] is None


@given(specs, st.integers(0, 16))
def test_window_is_streaming_without_sinks(spec: EvalSpec, n_sink: int) -> None:
    window = replace(spec, method="window", n_sink=n_sink)
    assert window.run_id == replace(spec, method="streaming", n_sink=0).run_id
    assert window.budget == spec.window_size


@given(specs, st.data())
def test_recompute_depends_on_its_budget_alone(spec: EvalSpec, data: st.DataObject) -> None:
    recompute = replace(spec, method="recompute")
    assert recompute.budget == spec.n_sink + spec.window_size
    n_sink = data.draw(st.integers(0, recompute.budget))
    other = replace(recompute, n_sink=n_sink, window_size=recompute.budget - n_sink)
    assert other.run_id == recompute.run_id
    assert replace(recompute, n_sink=n_sink + recompute.budget + 1).run_id != recompute.run_id


@given(specs, st.integers(1, 512), st.integers(0, 32), st.integers(1, 9))
def test_timing_settings_count_only_where_latency_is_measured(
    spec: EvalSpec, decode: int, warmup: int, repeats: int
) -> None:
    other = replace(spec, decode_tokens=decode, warmup_tokens=warmup, repeats=repeats)
    same_timing = (decode, warmup, repeats) == (
        spec.decode_tokens,
        spec.warmup_tokens,
        spec.repeats,
    )
    assert (other.run_id == spec.run_id) == ("latency" not in spec.measure or same_timing)


def test_the_stride_of_recompute_is_nobody_elses() -> None:
    assert replace(BASE, recompute_stride=8).run_id == BASE.run_id
    recompute = replace(BASE, method="recompute")
    assert replace(recompute, recompute_stride=8).run_id != recompute.run_id


def test_a_sample_of_blocks_is_part_of_a_recomputed_perplexity_alone() -> None:
    recompute = replace(BASE, method="recompute")
    assert replace(BASE, recompute_blocks=8).run_id == BASE.run_id
    assert replace(recompute, recompute_blocks=8).run_id != recompute.run_id
    timed = replace(recompute, measure=["latency"])
    assert replace(timed, recompute_blocks=8).run_id == timed.run_id


def test_the_order_of_measures_does_not_matter() -> None:
    assert replace(BASE, measure=["latency", "quality"]).run_id == BASE.run_id


def test_moving_a_file_or_folder_keeps_the_run_id() -> None:
    here = replace(BASE, model="/a/model", dataset="file:/a/text.txt", dataset_revision="1" * 64)
    there = replace(here, model="./model", dataset="file:/b/renamed.txt")
    assert here.run_id == there.run_id


def test_changed_content_changes_the_run_id() -> None:
    text = replace(BASE, dataset="file:/a/text.txt", dataset_revision="1" * 64)
    assert replace(text, dataset_revision="2" * 64).run_id != text.run_id
    assert replace(BASE, model_revision="1").run_id != replace(BASE, model_revision="2").run_id


def test_another_column_of_a_file_is_another_text() -> None:
    first, second = (replace(BASE, dataset=f"file:a.json#{name}") for name in ("text", "body"))
    assert first.run_id != second.run_id
    assert first.run_id == replace(BASE, dataset="file:a.json").run_id


# Hashed by hand with sha256sum; a change here orphans every stored result.
KNOWN = {
    "21d8b42c1319f9c9": BASE,
    "20d705fdbbb7d250": EvalSpec(
        model="EleutherAI/pythia-70m",
        model_revision="a39f36b100fe8a5377810d56c3f4789b9c53ac42",
        dtype="float16",
        dataset="pg19",
        dataset_revision="c5e39bf32e33f9111323aa68d7d9000d22722035",
        method="recompute",
        max_documents=1,
        max_tokens=8192,
    ),
    "84a9eab4a595751f": EvalSpec(
        model="/anywhere/model",
        model_revision="cd",
        dataset="file:texts/book.json",
        dataset_revision="ab",
        method="dense",
        measure=["quality"],
        repeats=9,
        window_size=7,
        split="train",
    ),
}


@pytest.mark.parametrize(("run_id", "spec"), KNOWN.items())
def test_known_run_ids_never_change(run_id: str, spec: EvalSpec) -> None:
    assert spec.run_id == run_id


def test_a_default_value_is_not_part_of_the_identity() -> None:
    assert identity(BASE) == {"model": "demo", "dataset": "pydoc", "method": "streaming"}


WRONG = {
    "model": ["", "  ", "a/b/c", 3, None],
    "dataset": ["wikitext", "file:", "file:a.docx", "file:a", None],
    "method": ["streeming", "", None, 1],
    "dtype": ["fp16", "int8"],
    "max_documents": [0, -1, True, 1.0, "3"],
    "max_tokens": [1, 0],
    "n_sink": [-1, True, None],
    "window_size": [-5, 2.5],
    "recompute_stride": [0],
    "measure": [[], ["speed"], "quality", None],
    "decode_tokens": [0],
    "warmup_tokens": [-1],
    "repeats": [0],
    "seed": [-1],
    "trust_remote_code": [1, "yes"],
    "save_token_nll": [None],
}


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in WRONG.items() for value in values]
)
def test_a_wrong_value_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(SpecError) as caught:
        replace(BASE, **{field: value})
    assert [name for name, _ in caught.value.problems] == [field]


def test_random_text_needs_a_length() -> None:
    with pytest.raises(SpecError, match="max_tokens"):
        replace(BASE, dataset="random")
    assert replace(BASE, dataset="random", max_tokens=64).max_tokens == 64


def test_a_stride_fits_into_a_window() -> None:
    recompute = replace(BASE, method="recompute", n_sink=0, window_size=8, recompute_stride=9)
    with pytest.raises(SpecError, match="recompute_stride"):
        replace(recompute, recompute_stride=10)


def test_a_sample_of_the_exact_baseline_has_no_stride() -> None:
    recompute = replace(BASE, method="recompute", recompute_stride=8)
    with pytest.raises(SpecError, match=r"recompute_blocks.*recompute_stride must be 1, got 8"):
        replace(recompute, recompute_blocks=4)


def test_all_wrong_fields_are_said_at_once() -> None:
    with pytest.raises(ValueError, match=r"n_sink.*window_size") as caught:
        replace(BASE, n_sink=-1, window_size=-1)
    assert isinstance(caught.value, SpecError)


@pytest.mark.parametrize("method", ["streaming", "recompute", "window"])
def test_a_budget_of_nothing_is_refused(method: str) -> None:
    with pytest.raises(SpecError, match="budget"):
        replace(BASE, method=method, n_sink=0, window_size=0)


def test_a_window_without_sinks_needs_a_window() -> None:
    with pytest.raises(SpecError, match="budget"):
        replace(BASE, method="window", n_sink=4, window_size=0)
    assert replace(BASE, n_sink=4, window_size=0).budget == 4
