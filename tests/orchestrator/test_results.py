"""`sweep results`: filters, order, columns and formats."""

import csv
import io
import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from orchestrator.cli import sweep as command
from orchestrator.store.store import Store
from tests.support.sweeps import row, spec
from workers.contract.rows import LIST_COLUMNS, TRIALS, spec_columns

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)


@pytest.fixture
def store(tmp_path: Path) -> str:
    store = Store(tmp_path / "store")
    rows = [
        row(seed, finished_at=NOON + timedelta(hours=seed), device_name="cpu") for seed in range(4)
    ]
    dense = spec_columns(spec(9, method="dense", dataset="stdlib", measure=("quality",)))
    rows.append({**rows[0], **dense, "row_id": "dense", "perplexity": 0.5})
    rows.append({**row(5), "status": "failed", "perplexity": None, "error_message": "boom"})
    store.append_trials(rows)
    return store.uri


def run(store: str, *arguments: str) -> Result:
    return CliRunner().invoke(command, ["results", "--store", store, *arguments])


def found(store: str, *arguments: str) -> list[dict[str, Any]]:
    result = run(store, "--format", "json", *arguments)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def seeds(store: str, *arguments: str) -> list[int]:
    return [item["seed"] for item in found(store, *arguments)]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (["method=dense"], [9]),
        (["method!=dense"], [0, 1, 2, 3]),
        (["seed>=2", "seed<9"], [2, 3]),
        (["perplexity<=1"], [0, 9]),
        (["perplexity>3"], [3]),
        (["n_sink=null"], [9]),
        (["n_sink!=null"], [0, 1, 2, 3]),
        (["n_sink!=4"], [9]),
        (["measure=quality+latency"], [0, 1, 2, 3]),
        (["measure=quality"], [9]),
        (["finished_at>=2026-01-01T14:00"], [2, 3]),
        (["save_token_nll=true"], []),
        (["dataset=pydoc", "method=dense"], []),
    ],
)
def test_filters_choose_rows(store: str, where: list[str], expected: list[int]) -> None:
    arguments = [part for text in where for part in ("--where", text)]
    assert sorted(seeds(store, *arguments)) == expected


def test_rows_are_sorted_and_limited(store: str) -> None:
    assert seeds(store, "--sort", "-perplexity") == [3, 2, 1, 0, 9]
    assert seeds(store, "--sort", "dataset", "--sort", "-seed") == [3, 2, 1, 0, 9]
    assert seeds(store, "--sort", "perplexity", "--limit", "2") == [9, 0]


def test_columns_are_chosen_and_ordered(store: str) -> None:
    (first, *_) = found(store, "--columns", "perplexity,run_id", "--where", "method=dense")
    assert list(first) == ["perplexity", "run_id"]


def test_every_column_but_the_blocks_is_there_by_default(store: str) -> None:
    assert set(found(store)[0]) == set(TRIALS.names) - set(LIST_COLUMNS)


def test_attempts_show_failures_and_results_do_not(store: str) -> None:
    assert len(seeds(store)) == 5
    assert len(seeds(store, "--attempts")) == 6
    assert "boom" in run(store, "--attempts", "--where", "status=failed").output


def test_an_infinite_perplexity_is_not_taken_for_a_missing_one(tmp_path: Path) -> None:
    Store(tmp_path).append_trials([row(1, perplexity=float("inf"), nll_sum=None)])
    (only,) = found(str(tmp_path), "--columns", "perplexity,nll_sum")
    assert only == {"perplexity": "inf", "nll_sum": None}
    assert "inf" in run(str(tmp_path)).output


def test_csv_has_full_precision_and_nothing_for_what_is_missing(store: str) -> None:
    output = run(store, "--format", "csv", "--where", "method=dense").stdout
    (only,) = csv.DictReader(io.StringIO(output))
    assert (only["perplexity"], only["n_sink"], only["measure"]) == ("0.5", "", "quality")
    assert only["finished_at"] == "2026-01-01T12:00:00+00:00"


def test_a_table_is_aligned_and_shows_what_is_missing_as_such(store: str) -> None:
    lines = run(store, "--columns", "method,n_sink,perplexity").output.splitlines()
    assert lines[0] == "method     n_sink  perplexity"
    assert "dense           -         0.5" in lines


def test_markdown_is_markdown(store: str) -> None:
    lines = run(store, "--format", "markdown", "--columns", "method,perplexity").output.splitlines()
    assert lines[:2] == ["| method | perplexity |", "| --- | ---: |"]
    assert "| dense | 0.5 |" in lines


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--where", "metod=dense"], ["'metod'", "did you mean 'method'"]),
        (["--where", "method"], ["COLUMN=VALUE", "'method'"]),
        (["--where", "seed=many"], ["'many'", "int64"]),
        (["--where", "trust_remote_code=1"], ["'1'", "bool"]),
        (["--where", "finished_at>noon"], ["'noon'", "timestamp"]),
        (["--where", "seed<null"], ["null", "="]),
        (["--sort", "perplexty"], ["did you mean 'perplexity'"]),
        (["--sort", "block_nll"], ["block_nll", "list"]),
        (
            ["--columns", "run_id,nothing_like_it"],
            ["nothing_like_it", "columns: ", "perplexity_low"],
        ),
        (["--limit", "0"], ["--limit"]),
        (["--format", "xml"], ["xml", "markdown"]),
    ],
)
def test_a_wrong_choice_is_refused_by_name(
    store: str, arguments: list[str], words: list[str]
) -> None:
    result = run(store, *arguments)
    assert result.exit_code == 2
    assert all(word in result.stderr for word in words), result.stderr


def test_an_empty_answer_is_said(tmp_path: Path) -> None:
    result = run(str(tmp_path / "none"))
    assert result.exit_code == 0
    assert "no such row" in result.stderr
    assert not (tmp_path / "none").exists()
