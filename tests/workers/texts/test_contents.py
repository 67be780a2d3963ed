"""Files are read for what they hold: compression, encodings, the shape of JSON, empty rows."""

import bz2
import codecs
import gzip
import json
import lzma
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.contract.errors import CorpusError
from workers.contract.file_datasets import FILE_FORMATS, split_file_dataset, with_path
from workers.contract.spec import EvalSpec
from workers.revisions import resolve
from workers.texts.corpora import read_documents

BOOKS = ["The first book.\n\nWith a blank line.", 'The second böok, with "quotes", and commas.']


def zstd(data: bytes) -> bytes:
    return pa.compress(data, codec="zstd", asbytes=True)


COMPRESSIONS = {"gz": gzip.compress, "zst": zstd, "bz2": bz2.compress, "xz": lzma.compress}
CONTENTS = {
    "json": json.dumps(BOOKS),
    "jsonl": "\n".join(json.dumps({"text": book}) for book in BOOKS),
    "csv": "n,text\n"
    + "".join(f'{n},"{b.replace(chr(34), 2 * chr(34))}"\n' for n, b in enumerate(BOOKS)),
}


def spec(path: Path | str, **fields: Any) -> EvalSpec:
    return EvalSpec(model="demo", dataset=f"file:{path}", method="streaming", **fields)


def texts(path: Path | str, **fields: Any) -> list[str]:
    return [document.text for document in read_documents(spec(path, **fields))]


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("ending", COMPRESSIONS)
@pytest.mark.parametrize("file_format", CONTENTS)
def test_a_compressed_file_is_read_whatever_its_name_says(
    tmp_path: Path, file_format: str, ending: str
) -> None:
    packed = COMPRESSIONS[ending](CONTENTS[file_format].encode())
    assert texts(write(tmp_path / f"a.{file_format}.{ending}", packed)) == BOOKS
    assert texts(write(tmp_path / f"b.{file_format}", packed)) == BOOKS
    plain = write(tmp_path / f"c.{file_format}.{ending}", CONTENTS[file_format])
    assert texts(plain) == BOOKS


def test_concatenated_gzip_members_and_twice_compressed_text_are_read(tmp_path: Path) -> None:
    two = gzip.compress(b"one ") + gzip.compress(b"two")
    assert texts(write(tmp_path / "a.txt.gz", two)) == ["one two"]
    assert texts(write(tmp_path / "b.txt.gz", gzip.compress(zstd(b"deep")))) == ["deep"]


@pytest.mark.parametrize("ending", COMPRESSIONS)
def test_a_compressed_file_that_was_cut_off_is_refused(tmp_path: Path, ending: str) -> None:
    packed = COMPRESSIONS[ending](bytes(range(32, 127)) * 40)
    path = write(tmp_path / f"a.txt.{ending}", packed[: len(packed) - 12])
    with pytest.raises(CorpusError, match=r"compressed, and damaged or cut off|cannot be read"):
        texts(path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
@pytest.mark.parametrize("file_format", CONTENTS)
def test_an_encoding_with_a_byte_order_mark_is_recognised(
    tmp_path: Path, file_format: str, encoding: str
) -> None:
    path = write(tmp_path / f"a.{file_format}", CONTENTS[file_format].encode(encoding))
    assert texts(path) == BOOKS
    big_endian = codecs.BOM_UTF16_BE + CONTENTS[file_format].encode("utf-16-be")
    assert texts(write(tmp_path / f"b.{file_format}", big_endian)) == BOOKS


NO_TEXT = {
    b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n": "git lfs pull",
    b"%PDF-1.7\n%\xe2\xe3": "pdftotext",
    b"PK\x03\x04\x14\x00": "zip",
    b"\x00" * 257 + b"ustar\x0000": "tar archive",
    b"\x89PNG\r\n\x1a\n": "PNG",
    "A plain English sentence.".encode("utf-16-be"): "iconv -f UTF-16BE",
    "A plain English sentence.".encode("utf-32-le"): "iconv -f UTF-32LE",
    "Deux phrases en français".encode("latin-1"): "not UTF-8 at byte 20 .*iconv -f ENCODING",
    # The same pointers as an editor or a script may have written them.
    b"\xef\xbb\xbfversion https://git-lfs.github.com/spec/v1\n": "git lfs pull",
    b"\n version https://git-lfs.github.com/spec/v1\n": "git lfs pull",
    "version https://git-lfs.github.com/spec/v1\n".encode("utf-16"): "git lfs pull",
    b"../.git/annex/objects/a/b/SHA256E-s1--0.txt": "git annex get",
    # Compressions that are not read, and damage.
    b"\x1f\x9d\x90" + bytes(range(256)): "gunzip",
    b"LZIP\x01" + bytes(range(256)): "lzip",
    b"\x02\x21\x4c\x18" + bytes(range(256)): "lz4 -d",
    b"\xff\x06\x00\x00sNaPpY": "snappy",
    b"\x78\x9c" + bytes(range(1, 256)) * 4: "binary data",
    b"A text." + b"\0" * 3: "a zero at byte 7",
    b"\0" * 5000: "a zero at byte 0",
}


@pytest.mark.parametrize(("content", "message"), NO_TEXT.items())
@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.json", "a.jsonl", "a.csv", "a.txt.gz"])
def test_what_is_no_text_is_refused_for_what_it_is(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    with pytest.raises(CorpusError, match=message) as caught:
        texts(write(tmp_path / name, content))
    assert "\n" not in str(caught.value)


def test_zstd_may_begin_with_a_frame_to_be_skipped_and_lzma_is_read(tmp_path: Path) -> None:
    skipped = b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"
    assert texts(write(tmp_path / "a.txt.zst", skipped + zstd(b"one"))) == ["one"]
    packed = lzma.compress(b"one", format=lzma.FORMAT_ALONE)
    assert texts(write(tmp_path / "a.txt.lzma", packed)) == ["one"]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.csv", "a.parquet", "a.jsonl.gz"])
@pytest.mark.parametrize("content", ["<!DOCTYPE html>\n<html>", "\n<html lang=en>", "<?xml ?>"])
def test_a_page_saved_in_place_of_a_file_is_called_one(
    tmp_path: Path, name: str, content: str
) -> None:
    with pytest.raises(CorpusError, match="web page or XML"):
        texts(write(tmp_path / name, content))


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
@pytest.mark.parametrize(
    "between", ["", "\n", "\n\n", " ", "\x1e", "\n\x1e"], ids=lambda text: text.encode().hex()
)
@pytest.mark.parametrize("indent", [None, 1])
def test_json_values_one_after_another_are_read_whatever_stands_between(
    tmp_path: Path, name: str, between: str, indent: int | None
) -> None:
    values = [json.dumps({"text": book}, indent=indent) for book in BOOKS]
    assert texts(write(tmp_path / name, between.join(values))) == BOOKS


def test_a_header_may_have_spaces_a_hint_of_excel_or_bars_between(tmp_path: Path) -> None:
    assert texts(write(tmp_path / "a.csv", 'id, text\n1,"one"\n')) == ["one"]
    assert texts(write(tmp_path / "b.csv", "sep=;\r\nid;text\r\n1;eins, zwei\r\n")) == [
        "eins, zwei"
    ]
    assert texts(write(tmp_path / "c.csv", "id|text\n1|one\n")) == ["one"]
    book = "words " * 1000
    with pytest.raises(CorpusError, match="no column 'text'") as caught:
        texts(write(tmp_path / "d.csv", f"1,{book}\n2,{book}\n"))
    assert len(str(caught.value)) < 300


def test_json_lines_named_json_and_a_list_named_jsonl_are_read_as_what_they_are(
    tmp_path: Path,
) -> None:
    assert texts(write(tmp_path / "lines.json", CONTENTS["jsonl"])) == BOOKS
    assert texts(write(tmp_path / "list.jsonl", json.dumps(BOOKS))) == BOOKS
    assert texts(write(tmp_path / "pretty.jsonl", json.dumps({"text": BOOKS}, indent=2))) == BOOKS
    assert texts(write(tmp_path / "blank.jsonl", "\n\n" + CONTENTS["jsonl"])) == BOOKS


def test_json_lines_named_json_with_a_mistake_name_its_line(tmp_path: Path) -> None:
    path = write(tmp_path / "lines.json", '{"text": "one"}\n{"text": "two"}\n{"text": \n')
    with pytest.raises(CorpusError, match="not valid JSON at line 3"):
        texts(path)


def test_a_table_may_be_separated_by_commas_semicolons_or_tabs(tmp_path: Path) -> None:
    assert texts(write(tmp_path / "a.csv", "id;text\r\n1;eins, zwei\r\n")) == ["eins, zwei"]
    assert texts(
        write(tmp_path / "a.tsv", "id\tbody\n1\tone, two\n\n2\tthree\n").as_posix() + "#body"
    ) == [
        "one, two",
        "three",
    ]
    long = "x" * 300_000
    assert texts(write(tmp_path / "long.csv", f"text\n{long}\n")) == [long]
    with pytest.raises(CorpusError, match="no column 'text'; it has: id, body"):
        texts(write(tmp_path / "b.csv", "id,body\n1,one\n"))


EMPTY_ROWS = {
    "a.jsonl": '{"text": "one"}\n{"text": ""}\n{"text": null}\n{"text": " \\n"}\n"two"\n',
    "a.json": json.dumps(["one", "", None, " \n", {"text": "two"}]),
    "a.csv": 'n,text\n1,one\n2,""\n3\n4," "\n5,two\n',
}


@pytest.mark.parametrize(("name", "content"), EMPTY_ROWS.items())
def test_empty_and_null_rows_are_refused_or_skipped(
    tmp_path: Path, name: str, content: str
) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(CorpusError, match=r"document 2 .* is empty or null.*empty_documents: skip"):
        texts(path)
    assert texts(path, empty_documents="skip") == ["one", "two"]
    assert texts(path, empty_documents="skip", max_documents=2) == ["one", "two"]
    assert texts(path, max_documents=1) == ["one"]


# -- folders, patterns, names


def test_a_folder_or_a_pattern_is_one_document_per_file_in_order(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", "c.md", ".hidden.txt", "picture.png", "deep/d.txt"):
        write(tmp_path / "books" / name, name)
    write(tmp_path / "books" / "e.jsonl", '{"text": "e1"}\n{"text": "e2"}')
    books = tmp_path / "books"
    assert texts(f"{books}/") == ["a.txt", "b.txt", "c.md", "e1", "e2"]
    assert texts(f"{books}/*.txt") == ["a.txt", "b.txt"]
    assert texts(f"{books}/**/*.txt") == ["a.txt", "b.txt", "deep/d.txt"]
    names = [document.name for document in read_documents(spec(f"{books}/*.txt"))]
    assert names == ["a.txt:1", "b.txt:1"]
    assert texts(Path(f"{books}/*.txt").as_posix(), max_documents=1) == ["a.txt"]


def test_a_pattern_is_read_through_a_file_system_too(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", "deep/d.txt", "[x].txt"):
        write(tmp_path / name, name)
    assert texts(f"{tmp_path.as_uri()}/*.txt") == ["[x].txt", "a.txt", "b.txt"]
    assert texts(f"{tmp_path.as_uri()}/**/*.txt") == ["[x].txt", "a.txt", "b.txt", "deep/d.txt"]
    assert texts(f"{tmp_path.as_uri()}/") == ["[x].txt", "a.txt", "b.txt"]


def test_a_folder_without_texts_or_a_file_without_an_ending_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "empty" / "x.png", "x")
    write(tmp_path / "notes", "some text")
    for path, message in (
        ("empty/", "no file in it ends in"),
        ("nowhere/", "no such folder"),
        ("notes/", "a file, not a folder"),
        ("*.txt", "no file in it"),
    ):
        with pytest.raises(CorpusError, match=message):
            texts(tmp_path / path if not path.endswith("/") else f"{tmp_path}/{path}")
        with pytest.raises(CorpusError, match=message):
            resolve(spec(f"{tmp_path}/{path}"))


def test_the_identity_of_many_files_is_their_content_in_order(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        write(tmp_path / folder / "a.txt", "a")
        write(tmp_path / folder / "b.txt", "b")
    ids = {resolve(spec(f"{tmp_path}/{path}")).run_id for path in ("one/", "two/", "one/*.txt")}
    assert len(ids) == 1
    write(tmp_path / "two" / "c.txt", "c")
    assert resolve(spec(f"{tmp_path}/two/")).run_id not in ids
    (tmp_path / "one" / "a.txt").rename(tmp_path / "one" / "z.txt")
    assert resolve(spec(f"{tmp_path}/one/")).run_id not in ids


@pytest.mark.parametrize(
    "name",
    [
        "C#/book.txt",
        "a#b.txt",
        "a.txt#b.txt",
        "#1.txt",
        "[draft] what?.txt",
        "a b'c\"$d.txt",
        "é.md",
    ],
)
def test_a_path_with_a_syntax_can_be_named(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, "text")
    assert texts(path) == ["text"]
    assert resolve(spec(path)).dataset == f"file:{path}"
    assert resolve(spec(path)).dataset_revision is not None


def test_a_column_is_named_after_a_path_with_the_same_mark(tmp_path: Path) -> None:
    path = write(tmp_path / "C#" / "a#1.jsonl", '{"bo#dy": "one"}')
    with pytest.raises(CorpusError, match="no column 'text'; it has: bo#dy"):
        texts(path)
    write(path, '{"meta/body": "one"}')
    assert texts(f"{path}#meta/body") == ["one"]


def test_a_parquet_file_may_be_compressed_again(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": BOOKS}), tmp_path / "a.parquet")
    packed = gzip.compress((tmp_path / "a.parquet").read_bytes())
    assert texts(write(tmp_path / "b.parquet.gz", packed)) == BOOKS


PATHS = st.text(st.characters(exclude_characters="\0*"), min_size=1, max_size=12).filter(
    lambda text: not text.endswith("/")
)


@given(PATHS, st.sampled_from(FILE_FORMATS))
def test_every_path_with_an_ending_can_be_named(head: str, ending: str) -> None:
    path = f"{head}.{ending}"
    assert split_file_dataset(f"file:{path}") == (path, ending, "text")
    assert split_file_dataset(f"file:{path}#body") == (path, ending, "body")
    assert with_path(f"file:{path}#body", "/new.txt") == "file:/new.txt#body"


@given(st.binary(max_size=300), st.sampled_from(["txt", "json", "jsonl", "csv", "md"]))
def test_any_bytes_are_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, ending: str
) -> None:
    path = write(tmp_path_factory.mktemp("any") / f"a.{ending}", content)
    try:
        found = texts(path)
    except CorpusError as error:
        found = [str(error).replace(str(path), "")]
        assert "\n" not in found[0]
    assert all(found)


def test_what_never_ends_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "zeros.txt").symlink_to("/dev/zero")
    for name in ("pipe.txt", "zeros.txt"):
        with pytest.raises(CorpusError, match="a pipe, a socket or a device"):
            texts(tmp_path / name)
        with pytest.raises(CorpusError, match="a pipe, a socket or a device"):
            resolve(EvalSpec(model="demo", dataset=f"file:{tmp_path / name}", method="dense"))


@pytest.mark.parametrize(
    "uri", ["https://a.example/a.txt", "hf://datasets/a/b.txt", "ftp://a/b.txt", "gs://", "s3:///"]
)
def test_what_lies_elsewhere_has_to_be_downloaded(uri: str) -> None:
    with pytest.raises(CorpusError, match="has to be downloaded first"):
        resolve(EvalSpec(model="demo", dataset=f"file:{uri}", method="dense"))


@pytest.mark.parametrize("name", ["~.txt", "~nobody-of-that-name.txt"])
def test_a_tilde_that_names_no_user_is_a_character(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text("one")
    assert texts(name) == ["one"]
    assert resolve(EvalSpec(model="demo", dataset=f"file:{name}", method="dense")).dataset_revision
