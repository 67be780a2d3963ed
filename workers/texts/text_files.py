"""`file:PATH`: the user's own text, one file or many, local or in an object store.

A txt or Markdown file is one document. The other formats hold one document per string: a list of
strings, a list of objects (or rows, or lines) with the named column, or one object whose column
is a string or a list of strings. Of a folder or a pattern every file is read in turn. Compressed
files and other encodings are recognised by their content (`contents.py`).
"""

import csv
import io
import itertools
import json
import re
import sys
from collections.abc import Iterator
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from workers.contract.errors import CorpusError
from workers.contract.file_datasets import MANY_FILES, file_format, split_file_dataset
from workers.texts import files
from workers.texts.contents import (
    DAMAGED,
    PARQUET_MAGIC,
    decode,
    decompressed,
    is_web_page,
    refuse_no_text,
    text_bytes,
)

_BATCH_ROWS = 64
_CSV_DELIMITERS = {"csv": ",;\t|", "tsv": "\t"}
_EXCEL_HINT = re.compile(r"\ufeff?sep=(.)\r?\n")
"""The first line with which Excel names the delimiter."""
_BETWEEN = re.compile(r"[\s\x1e]*")
"""What may stand between two JSON values of one file; RFC 7464 has a record separator."""
_NAMES_SHOWN, _NAME_LENGTH = 12, 30


def read_file_texts(dataset: str) -> Iterator[tuple[str, int, str | None]]:
    """Yield (file name, number in that file, text) for every text of `file:PATH[#column]`.

    A null is None. Reads no further than is asked for. Raises `CorpusError`.
    """
    path, found, column = split_file_dataset(dataset)
    try:
        paths = files.members(path) if found == MANY_FILES else [path]
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read: {error.strerror or error}") from error
    for path in paths:
        try:
            with files.open_binary(path) as file:
                texts = _READERS[file_format(path)](file, path, column)
                for number, text in enumerate(texts, 1):
                    yield path.rpartition("/")[2], number, text
        except FileNotFoundError as error:
            raise CorpusError(
                f"{path}: no such file on this machine; give a path or URI that every worker "
                "can see"
            ) from error
        except IsADirectoryError as error:
            raise CorpusError(
                f"{path}: a folder, not a file; with a / at its end its files are read"
            ) from error
        except DAMAGED as error:
            raise CorpusError(f"{path}: compressed, and damaged or cut off: {error}") from error
        except OSError as error:
            raise CorpusError(f"{path}: cannot be read: {error}") from error


def parquet_texts(file: IO[bytes], name: str, column: str) -> Iterator[str | None]:
    """Yield one text per row of a Parquet file; `name` is what errors call it."""
    try:
        table = pq.ParquetFile(file)
        _require_column(table.schema_arrow.names, name, column)
        row = 0
        for batch in table.iter_batches(batch_size=_BATCH_ROWS, columns=[column]):
            for value in batch.column(0).to_pylist():
                row += 1
                yield _require_text(value, f"{name}: row {row}, column {column!r}")
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError) as error:
        raise CorpusError(f"{name}: not a readable Parquet file of UTF-8 text: {error}") from error


def _whole_text(file: IO[bytes], path: str, column: str) -> Iterator[str | None]:
    yield decode(text_bytes(file, path).read(), path)


def _json_texts(file: IO[bytes], path: str, column: str) -> Iterator[str | None]:
    values = _sequence(decode(text_bytes(file, path).read(), path), path)
    first = next(values, None)
    if first is None:
        raise CorpusError(f"{path}: not valid JSON at line 1: the file is empty")
    second = next(values, None)
    if second is None:
        yield from _json_values(first[1], path, column)
        return
    # One value and then another: JSON lines, or a sequence, whatever the file is called.
    for line, value in itertools.chain((first, second), values):
        yield _text_of(value, f"{path}: line {line}", column)


def _jsonl_texts(file: IO[bytes], path: str, column: str) -> Iterator[str | None]:
    stream = text_bytes(file, path)
    first = b""
    for line in stream:
        first += line
        if line.strip():
            break
    if _is_json_line(first):
        yield from _lines(stream, path, column, first)
    else:  # a list, or values over several lines, whatever the file is called
        yield from _json_texts(io.BytesIO(first + stream.read()), path, column)


def _sequence(text: str, path: str, line: int = 1) -> Iterator[tuple[int, Any]]:
    """Yield (line, value) of every JSON value of a text that holds one after another.

    line: that of the text in its file.
    """
    decoder, place, first, text = json.JSONDecoder(), 0, line, text.rstrip()
    while (start := _skipped(text, place)) < len(text):
        line += text.count("\n", place, start)
        try:
            value, place = decoder.raw_decode(text, start)
        except json.JSONDecodeError as error:
            where = f"line {first + error.lineno - 1}, column {error.colno}"
            raise CorpusError(f"{path}: not valid JSON at {where}: {error.msg}") from error
        except (ValueError, RecursionError) as error:  # absurd numbers, absurd nesting
            raise CorpusError(f"{path}: not usable JSON at line {line}: {error}") from error
        yield line, value
        line += text.count("\n", start, place)


def _skipped(text: str, place: int) -> int:
    found = _BETWEEN.match(text, place)
    return found.end() if found else place


def _json_values(value: Any, path: str, column: str) -> Iterator[str | None]:
    if isinstance(value, dict):
        _require_column(value, path, column)
        value = value[column]
        value = value if isinstance(value, list) else [value]
    if not isinstance(value, list):
        raise CorpusError(
            f"{path}: must hold a list of strings, a list of objects with {column!r}, or an object "
            f"whose {column!r} is a string or a list of strings, got {type(value).__name__}"
        )
    for number, entry in enumerate(value, 1):
        yield _text_of(entry, f"{path}: entry {number}", column)


def _lines(stream: IO[bytes], path: str, column: str, first: bytes = b"") -> Iterator[str | None]:
    offset = number = 0
    head = io.BytesIO(first)
    for lines in (head, stream):  # split at \n alone, as JSON lines are
        for line in lines:
            number += 1
            text = decode(line, path, offset)
            offset += len(line)
            for _, value in _sequence(text, path, number):
                yield _text_of(value, f"{path}: line {number}", column)


def _table_texts(file: IO[bytes], path: str, column: str) -> Iterator[str | None]:
    """Yield a column of a csv or tsv file with a header; a row without the cell is null."""
    text = decode(text_bytes(file, path).read(), path)
    hint = _EXCEL_HINT.match(text)
    delimiters = hint[1] if hint else _CSV_DELIMITERS[file_format(path)]
    text = text[hint.end() :] if hint else text
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # a cell may be a book
    headers = {
        mark: [name.strip() for name in header]
        for mark in delimiters
        for header in [next(csv.reader(io.StringIO(text, newline=""), delimiter=mark), [])]
    }
    delimiter = max(headers, key=lambda mark: (column in headers[mark], len(headers[mark])))
    _require_column(headers[delimiter], f"{path}: header", column)
    place = headers[delimiter].index(column)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        next(rows)
        for row in rows:
            if row:
                yield row[place] if place < len(row) else None
    except csv.Error as error:
        raise CorpusError(f"{path}: not valid CSV at line {rows.line_num}: {error}") from error


def _parquet_file(file: IO[bytes], path: str, column: str) -> Iterator[str | None]:
    stream = decompressed(file, path)
    file = file if stream is file else io.BytesIO(stream.read())
    head = file.read(len(PARQUET_MAGIC) * 256)
    if not head.startswith(PARQUET_MAGIC):
        refuse_no_text(head, path)
        if is_web_page(head):
            raise CorpusError(f"{path}: this is a web page or XML, not parquet")
    file.seek(0)
    yield from parquet_texts(file, path, column)


_READERS = {
    "txt": _whole_text,
    "md": _whole_text,
    "json": _json_texts,
    "jsonl": _jsonl_texts,
    "csv": _table_texts,
    "tsv": _table_texts,
    "parquet": _parquet_file,
}


def _is_json_line(line: bytes) -> bool:
    """Whether a line is one whole value that is no list; an empty file counts as lines."""
    try:
        return not line.strip() or not isinstance(json.loads(line), list)
    except (ValueError, RecursionError):
        return False


def _text_of(entry: Any, where: str, column: str) -> str | None:
    if isinstance(entry, dict):
        _require_column(entry, where, column)
        entry = entry[column]
        where = f"{where}, column {column!r}"
    return _require_text(entry, where)


def _require_text(value: Any, where: str) -> str | None:
    if value is not None and not isinstance(value, str):
        raise CorpusError(f"{where}: must be a string, got {type(value).__name__}")
    return value


def _require_column(columns: Any, where: str, column: str) -> None:
    if column not in columns:
        names = [str(name) for name in columns]
        shown = [f"{name:.{_NAME_LENGTH}}" + "…" * (len(name) > _NAME_LENGTH) for name in names]
        known = ", ".join(shown[:_NAMES_SHOWN]) + ", …" * (len(names) > _NAMES_SHOWN) or "none"
        raise CorpusError(
            f"{where}: no column {column!r}; it has: {known}. Name one with file:PATH#column"
        )
