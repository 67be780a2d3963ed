"""`file:PATH`: the user's own text, as txt, json, jsonl or parquet, local or in an object store.

A txt file is one document. The other formats hold one document per string: a list of strings,
a list of objects (or rows, or lines) with the named column, or one object whose column is a
string or a list of strings. Text is UTF-8, strictly: a byte that is not would otherwise become a
replacement character and a perplexity that nobody can explain.
"""

import json
from collections.abc import Iterator
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from workers.contract.errors import CorpusError
from workers.contract.spec import split_file_dataset
from workers.texts import files

_BATCH_ROWS = 64


def read_file_texts(dataset: str) -> Iterator[str]:
    """Yield the texts of `file:PATH[#column]` in order, reading no further than is asked for."""
    path, file_format, column = split_file_dataset(dataset)
    try:
        with files.open_binary(path) as file:
            yield from _READERS[file_format](file, path, column)
    except FileNotFoundError as error:
        raise CorpusError(
            f"{path}: no such file on this machine; give a path or URI that every worker can see"
        ) from error
    except IsADirectoryError as error:
        raise CorpusError(f"{path}: a folder, not a file; name one file in it") from error
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read: {error}") from error


def parquet_texts(file: IO[bytes], name: str, column: str) -> Iterator[str]:
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


def _txt_texts(file: IO[bytes], path: str, column: str) -> Iterator[str]:
    yield _decode(file.read(), path)


def _json_texts(file: IO[bytes], path: str, column: str) -> Iterator[str]:
    value = _parse(_decode(file.read(), path), path)
    if isinstance(value, dict):
        _require_column(value, path, column)
        value = value[column]
        value = [value] if isinstance(value, str) else value
    if not isinstance(value, list):
        raise CorpusError(
            f"{path}: must hold a list of strings, a list of objects with {column!r}, or an object "
            f"whose {column!r} is a string or a list of strings, got {type(value).__name__}"
        )
    for number, entry in enumerate(value, 1):
        yield _text_of(entry, f"{path}: entry {number}", column)


def _jsonl_texts(file: IO[bytes], path: str, column: str) -> Iterator[str]:
    offset = 0
    for number, line in enumerate(file, 1):  # split at \n alone, as JSON lines are
        text = _decode(line, path, offset)
        offset += len(line)
        if text.strip():
            yield _text_of(_parse(text, path, number), f"{path}: line {number}", column)


def _parquet_texts(file: IO[bytes], path: str, column: str) -> Iterator[str]:
    yield from parquet_texts(file, path, column)


_READERS = {
    "txt": _txt_texts,
    "json": _json_texts,
    "jsonl": _jsonl_texts,
    "parquet": _parquet_texts,
}


def _decode(data: bytes, path: str, offset: int = 0) -> str:
    try:
        # A leading byte order mark says how the file is encoded; it is no part of the text.
        return data.decode("utf-8").removeprefix("\ufeff" if offset == 0 else "")
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{path}: not UTF-8 at byte {offset + error.start} ({data[error.start]:#04x}); "
            f"convert it first, for example with `iconv -f latin1 -t utf-8`"
        ) from error


def _parse(text: str, path: str, line: int | None = None) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"line {line or error.lineno}, column {error.colno}"
        raise CorpusError(f"{path}: not valid JSON at {where}: {error.msg}") from error
    except (ValueError, RecursionError) as error:  # absurd numbers, absurd nesting
        where = f" at line {line}" if line else ""
        raise CorpusError(f"{path}: not usable JSON{where}: {error}") from error


def _text_of(entry: Any, where: str, column: str) -> str:
    if isinstance(entry, dict):
        _require_column(entry, where, column)
        entry = entry[column]
        where = f"{where}, column {column!r}"
    return _require_text(entry, where)


def _require_text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise CorpusError(f"{where}: must be a string, got {type(value).__name__}")
    return value


def _require_column(columns: Any, where: str, column: str) -> None:
    if column not in columns:
        known = ", ".join(map(str, columns)) or "none"
        raise CorpusError(
            f"{where}: no column {column!r}; it has: {known}. Name one with file:PATH#column"
        )
