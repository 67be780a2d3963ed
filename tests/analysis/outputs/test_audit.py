"""The audit finds each broken rule where it is broken, and nothing where it is not."""

import json
from datetime import timedelta

import pytest

from analysis.outputs.audit import audit
from analysis.rows import frames
from tests.support.analysis_rows import row, table

WINDOWS = (32, 64, 128, 256)


def clean(**options) -> list[dict]:
    return [
        row(method=method, window_size=window, sequence=number, **options)
        for number, (window, method) in enumerate(
            (window, method) for window in WINDOWS for method in ("streaming", "recompute")
        )
    ]


def rules(rows, **changes) -> dict[str, tuple[str, ...]]:
    found = audit(frames.tidy(table([dict(one, **changes) for one in rows])))
    return {finding.rule: finding.rows for finding in found}


def changed(number: int, **changes) -> list[dict]:
    rows = clean()
    rows[number] = dict(rows[number], **changes)
    return rows


def test_an_honest_sweep_has_no_findings():
    assert rules(clean()) == {}


def test_a_row_that_never_evicted_is_found():
    found = rules(
        [row(method=m, window_size=128, max_tokens=100) for m in ("streaming", "recompute")]
    )
    assert len(found["never-evicted"]) == 1


def test_caches_that_agree_to_the_last_bit_are_an_error():
    found = rules(clean(), perplexity=40.312744140625)
    assert len(found["identical-perplexity"]) == 8


def test_a_cache_that_holds_the_text_may_agree_with_the_baseline_to_the_last_bit():
    rows = [row(method=m, window_size=128, max_tokens=100) for m in ("streaming", "recompute")]
    assert "identical-perplexity" not in rules(rows, perplexity=12.5)


def test_a_cold_first_run_is_suspected_and_named():
    slow = clean()[0]["runtime_ms"] * 10
    frame = frames.tidy(table(changed(0, runtime_ms=slow, worker_sequence=0)))
    (found,) = [one for one in audit(frame) if one.rule == "cold-start"]
    assert "pydoc StreamingLLM 4+32" in found.rows[0]
    assert len(found.rows) == 1
    assert "the first of their worker" in found.message


def test_a_cold_prefill_is_suspected_too():
    slow = clean()[0]["prefill_ms"] * 60
    assert "cold-start" in rules(changed(0, prefill_ms=slow))


def test_a_larger_recompute_window_is_slower_without_being_suspect():
    rows = [row(method="recompute", window_size=window) for window in (16, 64, 256, 1024, 4096)]
    assert "cold-start" not in rules(rows)


@pytest.mark.parametrize(
    ("rule", "severity", "changes"),
    [
        ("device-shared", "error", {"device_shared": True}),
        ("wrong-device", "error", {"gpus_requested": 1, "node_id": "n", "device_uuid": None}),
        ("parity", "error", {"parity_max_abs_diff": 0.01}),
        ("no-parity", "warning", {"parity_max_abs_diff": None}),
        ("cache-not-full", "warning", {"latency_full_budget": False}),
        ("beyond-training", "warning", {"beyond_training_length": True}),
        ("unsteady-timing", "warning", {"runtime_ms_max": 1e6}),
        ("git-dirty", "note", {"git_dirty": True}),
        ("mixed-devices", "note", {"device_name": "GPU"}),
        ("unpaired-speed", "note", {"torch_version": "1.0"}),
        ("unpaired-quality", "note", {"dtype": "float16"}),
    ],
)
def test_each_rule_is_found_with_its_severity(rule, severity, changes):
    found = [one for one in audit(frames.tidy(table(changed(2, **changes)))) if one.rule == rule]
    assert [one.severity for one in found] == [severity]


def test_old_rows_of_a_cpu_among_those_of_gpus_are_found():
    gpu = {"device_name": "GPU", "device_uuid": "u", "node_id": "1"}
    rows = [
        row(method="dense", changes=gpu),
        row(method="streaming", window_size=32, changes={"node_id": "2"}),
    ]
    assert len(rules(rows)["wrong-device"]) == 1
    assert "wrong-device" not in rules([rows[1]])
    assert "wrong-device" not in rules([rows[0], {**rows[1], "gpus_requested": 0}])


def test_imported_and_strided_rows_are_known_as_such():
    rows = [*clean(), row(method="recompute", window_size=32, recompute_stride=16)]
    assert len(rules(rows)["strided-baseline"]) == 1
    imported = rules(clean(), source="imported")
    assert len(imported["imported"]) == 8
    assert "no-parity" not in imported


def test_errors_come_first_and_findings_are_plain_data():
    frame = frames.tidy(table(changed(2, git_dirty=True, device_shared=True, device_name="GPU")))
    found = audit(frame)
    order = [one.severity for one in found]
    assert order == sorted(order, key=("error", "warning", "note").index)
    assert json.loads(json.dumps(found[0].as_dict()))["rule"] == "device-shared"


def test_a_disturbed_timing_is_an_error_that_names_the_reason_and_the_remedy():
    rows = changed(2, timing_disturbed="others took 60% of the 2 cores", timing_noise=0.6)
    (found,) = [one for one in audit(frames.tidy(table(rows))) if one.rule == "disturbed-timing"]
    assert found.severity == "error"
    assert "others took 60%" in found.message
    assert "--remeasure-disturbed" in found.message
    assert len(found.rows) == 1


def test_a_pair_measured_more_than_an_hour_apart_is_noted():
    late = clean()[1]["finished_at"] + timedelta(hours=2)
    assert "pair-far-apart" not in rules(clean())
    assert len(rules(changed(1, finished_at=late))["pair-far-apart"]) == 1
