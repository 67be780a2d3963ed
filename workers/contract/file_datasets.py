"""How a grid names texts of the user's own: `file:PATH[#column]`, and what of it is identity.

Pure arithmetic on the name: no file is looked at, so a row means the same on every machine.

A `#` names a column only after something that is complete without it: a known ending, a `/` or a
`*`. So `file:C#/book.txt` is a path, `file:books.jsonl#body` a column, and a name that is complete
as a whole (`file:a.txt#b.txt`) is a path. `*` stands for any characters but `/`, `**` for any
folders; nothing else is special in a path.
"""

from pathlib import PurePosixPath

FILE_PREFIX = "file:"
DEFAULT_COLUMN = "text"
FILE_FORMATS = ("txt", "md", "json", "jsonl", "csv", "tsv", "parquet")
"""The endings of a file that can be read; case does not matter."""
COMPRESSED = ("gz", "zst", "bz2", "xz", "lz4")
"""Endings that may follow; what a file holds is recognised by its content, not by these."""
MANY_FILES = "files"
"""The format of a folder or a pattern: every file of it has a format of its own."""
_OTHER_SPELLINGS = {"text": "txt", "markdown": "md", "ndjson": "jsonl"}
_WITHOUT_COLUMNS = ("txt", "md")


def split_file_dataset(dataset: str) -> tuple[str, str, str]:
    """Split `file:PATH[#column]` into (path, format, column).

    The format is one of `FILE_FORMATS`, `MANY_FILES`, or an ending that cannot be read; the column
    is `text` unless named.
    """
    path, column = dataset.removeprefix(FILE_PREFIX), ""
    head, mark, tail = path.rpartition("#")
    if mark and not _is_complete(path) and _is_complete(head):
        path, column = head, tail
    return path, file_format(path), column or DEFAULT_COLUMN


def file_format(path: str) -> str:
    """Return the format that a path's ending names; see `split_file_dataset`."""
    name = path.rpartition("/")[2]
    suffixes = [suffix.lower().lstrip(".") for suffix in PurePosixPath(name).suffixes]
    if suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
    last = _OTHER_SPELLINGS.get(suffixes[-1], suffixes[-1]) if suffixes else ""
    if "*" in path:
        return MANY_FILES if last in ("", "*", *FILE_FORMATS) else last
    return MANY_FILES if name.strip(".") == "" or not suffixes else last


def wrong_file_dataset(dataset: str) -> str | None:
    """Return what is wrong with the name of a text, or None."""
    path, found, _ = split_file_dataset(dataset)
    if path and found in (*FILE_FORMATS, MANY_FILES):
        return None
    return (
        f"file:PATH must end in .{', .'.join(FILE_FORMATS)} (with .{', .'.join(COMPRESSED)} or "
        f"without), or be a folder that ends in /, got {dataset!r}"
    )


def file_identity(dataset: str) -> str:
    """Return the part of a run id that the name decides: the format and the column, no path."""
    _, found, column = split_file_dataset(dataset)
    return f"{FILE_PREFIX}{found}" + ("" if found in _WITHOUT_COLUMNS else f"#{column}")


def with_path(dataset: str, path: str) -> str:
    """Return the same text at another path; the column is kept."""
    old = split_file_dataset(dataset)[0]
    return FILE_PREFIX + path + dataset.removeprefix(FILE_PREFIX + old)


def _is_complete(path: str) -> bool:
    return path.endswith(("/", "*")) or file_format(path) in FILE_FORMATS
