"""Texts: every corpus, every file format, and what a user is told when one cannot be read."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workers.contract.errors import CorpusError
from workers.contract.spec import EvalSpec
from workers.texts import heldout
from workers.texts.corpora import Document, read_documents

BOOKS = ["  The first book.\n\n\nIt has blank lines.\n", "The second böok.", "The third."]


def spec(dataset: str, **fields: Any) -> EvalSpec:
    return EvalSpec(model="demo", dataset=dataset, method="streaming", **fields)


def texts(path: Path | str, **fields: Any) -> list[str]:
    return [document.text for document in read_documents(spec(f"file:{path}", **fields))]


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def write_parquet(path: Path, **columns: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=2)
    return path


# -- texts that need no network


def test_pydoc_is_one_stream_of_the_held_out_topics_joined_with_blank_lines() -> None:
    (document,) = read_documents(spec("pydoc"))
    topics = heldout.pydoc_topics(held_out=True)
    assert document.text == "\n\n".join(text.strip("\n") for text in topics.values())
    assert len(document.text) > 20_000


def test_no_topic_that_was_trained_on_appears_in_pydoc() -> None:
    (document,) = read_documents(spec("pydoc"))
    trained = heldout.pydoc_topics(held_out=False).values()
    assert not [text for text in trained if len(text) > 200 and text.strip() in document.text]


def test_stdlib_has_one_document_per_held_out_module_in_sorted_order() -> None:
    documents = read_documents(spec("stdlib"))
    names = [document.name for document in documents]
    assert names == sorted(heldout.stdlib_modules(held_out=True))
    assert all(heldout.is_held_out(name) for name in names)
    assert len(names) > 5


def test_max_documents_takes_the_first_ones() -> None:
    everything = read_documents(spec("stdlib"))
    assert read_documents(spec("stdlib", max_documents=3)) == everything[:3]


def test_random_has_no_text_to_read() -> None:
    with pytest.raises(CorpusError, match="token ids"):
        read_documents(spec("random", max_tokens=8))


# -- file:PATH


def test_a_txt_file_is_one_document_and_keeps_every_character(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", b"one\r\n\r\ntwo \xc3\xa9\x0c\n")
    assert texts(path) == ["one\r\n\r\ntwo é\f\n"]


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    assert texts(write(tmp_path / "a.txt", b"\xef\xbb\xbfabc\xef\xbb\xbfd")) == ["abc\ufeffd"]
    assert texts(write(tmp_path / "a.json", b'\xef\xbb\xbf["abc"]')) == ["abc"]


@pytest.mark.parametrize(
    "value",
    [
        BOOKS,
        [{"text": text, "title": "?"} for text in BOOKS],
        {"text": BOOKS, "title": "?"},
        [BOOKS[0], {"text": BOOKS[1]}, BOOKS[2]],
    ],
)
def test_json_may_be_strings_objects_or_one_object(tmp_path: Path, value: object) -> None:
    path = write(tmp_path / "books.json", json.dumps(value))
    assert texts(path) == BOOKS
    assert texts(path, max_documents=2) == BOOKS[:2]


def test_a_json_object_with_a_string_is_one_document(tmp_path: Path) -> None:
    path = write(tmp_path / "book.json", json.dumps({"body": BOOKS[0], "url": "http://x"}))
    assert texts(f"{path}#body") == BOOKS[:1]


def test_json_lines_are_split_at_line_feeds_alone(tmp_path: Path) -> None:
    # U+2028 is a line boundary for str.splitlines, and legal inside a JSON string.
    lines = ['{"text": "one\u2028two"}', "", '"three"', '{"n": 1, "text": "four"}\r']
    path = write(tmp_path / "a.jsonl", "\n".join(lines))
    assert texts(path) == ["one\u2028two", "three", "four"]


def test_parquet_rows_are_documents_of_the_named_column(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", text=["x"] * 3, book=BOOKS)
    assert texts(f"{path}#book") == BOOKS
    assert texts(f"{path}#book", max_documents=1) == BOOKS[:1]


def test_parquet_strings_may_be_large_or_dictionary_encoded(tmp_path: Path) -> None:
    for kind in (pa.large_string(), pa.dictionary(pa.int32(), pa.string())):
        pq.write_table(pa.table({"text": pa.array(BOOKS, kind)}), tmp_path / "a.parquet")
        assert texts(tmp_path / "a.parquet") == BOOKS


def test_documents_beyond_max_documents_are_not_even_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '"fine"\nthis is no JSON\n')
    assert texts(path, max_documents=1) == ["fine"]


def test_a_uri_is_read_through_its_file_system(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '"one"\n"two"\n')
    assert texts(path.as_uri()) == ["one", "two"]
    parquet = write_parquet(tmp_path / "a.parquet", text=BOOKS)
    assert texts(parquet.as_uri()) == BOOKS


def test_a_document_is_named_after_its_file_and_number(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", '["one", "two"]')
    assert read_documents(spec(f"file:{path}")) == [
        Document("a.json:1", "one"),
        Document("a.json:2", "two"),
    ]


# -- what a user is told

BAD_FILES = {
    "a.txt": [
        (b"abc\xff", "byte 3"),
        (b" \n\t", "document 1 .* is empty"),
        (b"", "document 1 .* is empty"),
        ("Grüße, ihr".encode("utf-16-le"), "looks like UTF-16LE"),
        (b"\xff\xfeG", "UTF-16 .* damaged"),
    ],
    "a.json": [
        (b'["one",\n two]', "line 2, column 2"),
        (b"[]", "holds no document"),
        (b"", "line 1"),
        (b'["one", "", "three"]', "document 2 .* is empty"),
        (b'[{"text": "one"}, {"body": "two"}]', "entry 2: no column 'text'; it has: body"),
        (b'{"title": "x", "url": "y"}', "no column 'text'; it has: title, url.*PATH#column"),
        (b'{"text": 7}', "int"),
        (b'{"text": null}', "document 1 .* is empty or null"),
        (b"7", "must hold a list of strings"),
        (b'["one", 2]', "entry 2: must be a string, got int"),
        (b'[{"text": ["one"]}]', "entry 1, column 'text': must be a string, got list"),
        (b'["\\ud800"]', "surrogate"),
        (b'["\xe9t\xe9"]', "byte 2"),
        (b"[" * 100_000, "not usable JSON|not valid JSON"),
        (b"[" + b"9" * 5000 + b"]", "not usable JSON"),
    ],
    "a.jsonl": [
        (b'"one"\n{"text": \n', "line 2"),
        (b'"one"\n\n["two"]\n', "line 3: must be a string, got list"),
        (b'"one"\n"tw\xff"\n', "byte 9"),
        (b"\n\n", "holds no document"),
        (b'"one"\n{"body": "two"}', "line 2: no column 'text'; it has: body"),
    ],
    "a.parquet": [(b"PAR1 but no more", "not a readable Parquet file"), (b"", "Parquet")],
}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [(name, *case) for name, cases in BAD_FILES.items() for case in cases],
)
def test_a_bad_file_is_refused_with_the_place(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(CorpusError, match=message) as caught:
        texts(path)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_parquet_file_without_the_column_says_which_it_has(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", title=["x"], book=["y"])
    with pytest.raises(CorpusError, match="no column 'text'; it has: title, book"):
        texts(path)


def test_a_parquet_row_that_is_null_or_a_number_is_refused_with_its_number(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", text=["a", "b", None], n=[1, 2, 3])
    with pytest.raises(CorpusError, match=r"document 3 \(a\.parquet:3\) is empty or null"):
        texts(path)
    with pytest.raises(CorpusError, match="row 1, column 'n': must be a string, got int"):
        texts(f"{path}#n")


def test_a_missing_file_or_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(CorpusError, match=r"nowhere\.json: no such file"):
        texts(tmp_path / "nowhere.json")
    with pytest.raises(CorpusError, match=r"folder\.txt: a folder"):
        texts(tmp_path / "folder.txt")
    with pytest.raises(CorpusError, match="cannot be read"):
        texts("nosuchscheme://bucket/a.txt")
    with pytest.raises(CorpusError, match="no such file"):
        texts((tmp_path / "nowhere.txt").as_uri())
