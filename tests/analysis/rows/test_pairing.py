"""Which rows pair, and what a pair says: properties over many small stores."""

import math
from datetime import timedelta

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.rows import frames
from analysis.rows.pairing import NO_PARTNER, NOT_FULL, PLACE_KEYS, TIMING_KEYS
from tests.support.analysis_rows import START, row, table

QUALITY_CHANGES = {
    "model": "EleutherAI/pythia-70m",
    "model_revision": "m2",
    "dtype": "float16",
    "dataset": "stdlib",
    "dataset_revision": "d2",
    "max_documents": 3,
    "max_tokens": 900,
}
SPEED_CHANGES = {
    "device_name": "Other CPU",
    "num_threads": 2,
    "torch_version": "2.12.0",
    "cuda_version": "12.8",
    "decode_tokens": 64,
    "warmup_tokens": 8,
    "repeats": 5,
    "latency_recorded": False,
}


def tidy(*rows: dict) -> pd.DataFrame:
    return frames.tidy(table(rows))


def pair_of(baseline: dict | None = None, ours: dict | None = None) -> pd.Series:
    """The streaming row of a store with one streaming and one recompute row."""
    rows = [
        row(method="recompute", window_size=128, changes=baseline),
        row(method="streaming", window_size=128, changes=ours),
    ]
    return tidy(*rows).iloc[1]


def test_a_streaming_row_pairs_with_the_recompute_row_of_its_budget():
    recompute, streaming = (row(method=m, window_size=128) for m in ("recompute", "streaming"))
    other = row(method="recompute", window_size=64)
    found = tidy(other, recompute, streaming).iloc[2]
    assert found["quality_partner"] == found["speed_partner"] == recompute["row_id"]
    assert found["speedup"] == recompute["runtime_ms"] / streaming["runtime_ms"]
    expected = streaming["perplexity"] / recompute["perplexity"] - 1
    assert found["perplexity_increase"] == pytest.approx(expected)


def test_rows_that_are_not_streaming_have_no_partner():
    rows = [row(method=m, window_size=128) for m in ("recompute", "dense", "streaming")]
    found = tidy(*rows)
    assert found["speedup"].notna().tolist() == [False, False, True]
    assert found["perplexity_increase"].notna().tolist() == [False, False, True]


@pytest.mark.parametrize("name", QUALITY_CHANGES)
def test_perplexities_do_not_pair_across_another(name):
    found = tidy(
        row(method="recompute", window_size=128, **{name: QUALITY_CHANGES[name]}),
        row(method="streaming", window_size=128),
    ).iloc[1]
    assert math.isnan(found["perplexity_increase"])
    assert math.isnan(found["speedup"])


def test_perplexities_do_not_pair_across_evaluation_versions():
    assert math.isnan(pair_of(baseline={"eval_version": 2})["perplexity_increase"])


@pytest.mark.parametrize("name", PLACE_KEYS + TIMING_KEYS)
def test_speeds_do_not_pair_across_another(name):
    found = pair_of(baseline={name: SPEED_CHANGES[name]})
    assert math.isnan(found["speedup"])
    assert found["speed_note"] == NO_PARTNER
    assert not math.isnan(found["perplexity_increase"]), "perplexities pair all the same"


@pytest.mark.parametrize("which", ["baseline", "ours"])
def test_a_speed_at_a_cache_that_is_not_full_is_never_paired(which):
    found = pair_of(**{which: {"latency_full_budget": False}})
    assert math.isnan(found["speedup"])
    assert found["speed_note"] == (NOT_FULL if which == "ours" else NO_PARTNER)


def test_a_measured_speed_on_an_unknown_device_is_never_paired():
    unknown = {"device_name": None}
    assert math.isnan(pair_of(baseline=unknown, ours=unknown)["speedup"])


def test_a_strided_recompute_is_a_baseline_only_when_it_is_asked_for():
    rows = table(
        [
            row(method="recompute", window_size=128, recompute_stride=64),
            row(method="streaming", window_size=128),
        ]
    )
    assert frames.tidy(rows)["speedup"].isna().all()
    asked = frames.tidy(rows, baseline_stride=64)
    assert asked["speedup"].notna().tolist() == [False, True]
    assert asked["method_label"].tolist() == ["recompute (stride 64)", "StreamingLLM"]


def test_the_seed_matters_only_where_something_is_random():
    text = [
        row(method="recompute", window_size=128, seed=1),
        row(method="streaming", window_size=128),
    ]
    assert tidy(*text)["perplexity_increase"].notna().sum() == 1
    noise = [dict(one, dataset="random") for one in text]
    assert tidy(*noise)["perplexity_increase"].notna().sum() == 0


def test_a_moved_folder_or_file_stays_the_same_model_and_text():
    found = tidy(
        row(method="recompute", window_size=128, model="/a/model", dataset="file:/a/text.txt"),
        row(method="streaming", window_size=128, model="/b/model", dataset="file:/b/other.txt"),
    )
    assert found["speedup"].notna().sum() == 1


def test_a_perplexity_prefers_the_baseline_of_its_own_device_over_a_later_one():
    here = row(method="recompute", window_size=128)
    later = {"device_name": "GPU", "finished_at": START + timedelta(days=1)}
    there = row(method="recompute", window_size=128, changes=later)
    ours = row(method="streaming", window_size=128)
    assert tidy(here, there, ours).iloc[2]["quality_partner"] == here["row_id"]
    assert tidy(there, ours).iloc[1]["quality_partner"] == there["row_id"]


def test_imported_rows_pair_with_rows_of_their_own_import_only():
    imported = {"source": "imported", "sweep": "a", "device_name": None}
    other = imported | {"sweep": "b"}
    assert pair_of(baseline=imported, ours=imported)["speedup"] > 1
    assert math.isnan(pair_of(baseline=imported, ours=other)["perplexity_increase"])
    assert math.isnan(pair_of(baseline=imported)["perplexity_increase"])


def test_quality_and_latency_measured_apart_pair_each_with_its_kind():
    rows = [
        row(method=method, window_size=128, measure=[measure])
        for method in ("recompute", "streaming")
        for measure in ("quality", "latency")
    ]
    found = tidy(*rows)
    assert found["perplexity_increase"].notna().tolist() == [False, False, True, False]
    assert found["speedup"].notna().tolist() == [False, False, False, True]


CHOICES = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["streaming", "recompute", "dense", "window"]),
        "window_size": st.sampled_from([60, 64, 128]),
        "n_sink": st.sampled_from([0, 4]),
        "dtype": st.sampled_from(["float32", "float16"]),
        "dataset": st.sampled_from(["pydoc", "stdlib"]),
        "decode_tokens": st.sampled_from([16, 32]),
        "max_tokens": st.sampled_from([None, 700]),
    }
)
PLACES = st.sampled_from([{}, {"device_name": "GPU"}, {"num_threads": 2}, {"torch_version": "9"}])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(CHOICES, PLACES), min_size=1, max_size=14))
def test_every_pair_obeys_the_rules_and_every_row_that_could_pair_does(chosen):
    rows = [row(changes=place, **fields) for fields, place in chosen]
    rows = list({one["row_id"]: one for one in rows}.values())
    found = tidy(*rows)
    assert found["row_id"].tolist() == [one["row_id"] for one in rows], "rows kept, in order"
    by_id = {one["row_id"]: one for one in rows}
    quality = ("model", "dtype", "dataset", "max_tokens", "budget")
    speed = (*quality, "device_name", "num_threads", "torch_version", "decode_tokens")
    for one, line in zip(rows, found.to_dict("records"), strict=True):
        for keys, column in ((quality, "quality_partner"), (speed, "speed_partner")):
            candidates = [
                other["row_id"]
                for other in rows
                if one["method"] == "streaming"
                and other["method"] == "recompute"
                and all(one[key] == other[key] for key in keys)
            ]
            if not candidates:
                assert frames.is_missing(line[column])
                continue
            assert line[column] in candidates
        if (partner := by_id.get(line["speed_partner"])) is not None:
            assert line["speedup"] == partner["runtime_ms"] / one["runtime_ms"]
            assert line["speedup_low"] <= line["speedup"] <= line["speedup_high"]
        else:
            assert math.isnan(line["speedup"])


def test_a_row_that_never_streamed_or_went_beyond_training_is_hollow():
    rows = [
        row(method="streaming", window_size=128),
        row(method="streaming", window_size=128, max_tokens=100),
        row(method="streaming", window_size=1024),
        row(method="dense"),
    ]
    assert rows[1]["evicted_tokens"] == 0
    assert tidy(*rows)["hollow"].tolist() == [False, True, True, False]


def test_labels_name_the_window_method_and_every_stride():
    rows = [
        row(method="window", window_size=128),
        row(method="recompute", window_size=128, recompute_stride=8),
        row(method="recompute", window_size=128),
    ]
    assert tidy(*rows)["method_label"].tolist() == [
        "window (0 sinks)",
        "recompute (stride 8)",
        "recompute",
    ]
