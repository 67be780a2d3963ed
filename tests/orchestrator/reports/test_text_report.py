"""`sweep plan` reads the user's texts first: what would fail, and what would be left out."""

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from orchestrator.reports.text_report import text_warnings
from workers.contract.spec import EvalSpec


def rows(path: Path, *texts: Any) -> Path:
    path.write_text("\n".join(json.dumps({"text": text}) for text in texts))
    return path


def spec(path: object, **fields: Any) -> EvalSpec:
    return EvalSpec(**{"model": "demo", "dataset": f"file:{path}", "method": "dense", **fields})


def test_a_text_without_faults_and_texts_that_are_shipped_need_no_warning(tmp_path: Path) -> None:
    path = rows(tmp_path / "a.jsonl", "one text", "another one")
    assert (
        text_warnings([spec(path), EvalSpec(model="demo", dataset="pydoc", method="dense")]) == []
    )


def test_empty_null_and_one_token_rows_are_counted_with_the_remedy(tmp_path: Path) -> None:
    path = rows(tmp_path / "a.jsonl", "one text", "", None, "a", "another one")
    words = Tokenizer(WordLevel({"one": 0, "text": 1, "a": 2, "another": 3}, unk_token="a"))
    words.pre_tokenizer = Whitespace()
    words.save(str(tmp_path / "tokenizer.json"))
    model = str(tmp_path)
    (warning,) = text_warnings([spec(path, model=model), spec(path, model=model, method="window")])
    assert "of 5 documents 2 empty or null and 1 of fewer than two tokens" in warning
    assert "the first: a.jsonl:2" in warning
    assert "all 2 evaluations of it will fail" in warning
    assert "--set empty_documents=skip" in warning


def test_what_is_skipped_on_request_is_counted_too(tmp_path: Path) -> None:
    path = rows(tmp_path / "a.jsonl", "one text", "", "another one")
    (warning,) = text_warnings([spec(path, empty_documents="skip")])
    assert "left out" in warning
    assert "fail" not in warning
    (warning,) = text_warnings([spec(rows(tmp_path / "b.jsonl", ""), empty_documents="skip")])
    assert "its evaluation will fail" in warning


def test_rows_beyond_the_limit_do_not_count(tmp_path: Path) -> None:
    path = rows(tmp_path / "a.jsonl", "one text", "two texts", "")
    assert text_warnings([spec(path, max_documents=2)]) == []
    assert text_warnings([spec(path, max_documents=2, empty_documents="skip")]) == []


def test_a_text_that_cannot_be_read_is_said_once_for_its_evaluations(tmp_path: Path) -> None:
    path = tmp_path / "pointer.txt"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")
    (warning,) = text_warnings([spec(path), spec(path, method="streaming")])
    assert "Git LFS pointer" in warning
    assert "all 2 evaluations of it will fail" in warning


def test_a_table_with_a_head_and_no_rows_will_fail_and_that_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,text\n")
    for empty_documents in ("refuse", "skip"):
        (warning,) = text_warnings([spec(path, empty_documents=empty_documents)])
        assert "holds no document" in warning
        assert "will fail" in warning


def test_the_only_document_is_called_empty_and_not_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(" \n")
    (warning,) = text_warnings([spec(path)])
    assert "its only document is empty; its evaluation will fail" in warning


def test_a_web_page_or_json_named_txt_is_asked_about(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for content in ("\n<!DOCTYPE html><html>Sign in</html>", '{"text": "one"}\n{"text": "two"}\n'):
        path.write_text(content)
        (warning,) = text_warnings([spec(path)])
        assert "is it the text that was meant?" in warning
        assert "fail" not in warning
    path.write_text("{He said:} <html> is a tag")
    assert text_warnings([spec(path)]) == []
