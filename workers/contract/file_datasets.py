"""How a grid names texts of the user's own: `file:PATH[#column]`, and what of it is identity.

What a name means is arithmetic on the name alone, so that a row means the same on every machine;
which files of this machine a pattern stands for is at the end.

A `#` names a column only after something that is complete without it: a known ending, a `/` or a
`*`. So `file:C#/book.txt` is a path, `file:books.jsonl#body` a column, and a name that is complete
as a whole (`file:a.txt#b.txt`) is a path. `*` stands for any characters but `/`, `**` for any
folders; nothing else is special in a path.
"""

import os
import re
from pathlib import Path, PurePosixPath

FILE_PREFIX = "file:"
DEFAULT_COLUMN = "text"
FILE_FORMATS = ("txt", "md", "json", "jsonl", "csv", "tsv", "parquet")
"""The endings of a file that can be read; case does not matter."""
COMPRESSED = ("gz", "zst", "bz2", "xz", "lz4", "lzma")
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
    return MANY_FILES if not name else last


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


def expanded(path: str | Path) -> Path:
    """Return a path with the home folder in place of its `~`; `~.txt` is a name like any other."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - the other raises where there is no such user


def _is_complete(path: str) -> bool:
    return path.endswith(("/", "*")) or file_format(path) in FILE_FORMATS


def fixed_folder(pattern: str) -> str:
    """Return the folder below which everything lies that a pattern can match."""
    head = pattern[: pattern.index("*")].rpartition("/")[0]
    return head or ("/" if pattern.startswith("/") else ".")


def pattern_of(location: str) -> str:
    """Return the pattern of a folder's own files; a pattern as it is."""
    return location if "*" in location else location.rstrip("/") + "/*"


def only_texts(paths: list[str]) -> list[str]:
    """Return the files whose ending can be read. Raises `OSError` if there is none."""
    found = [path for path in paths if file_format(path) in FILE_FORMATS]
    if not found:
        raise OSError(
            f"no file in it ends in .{', .'.join(FILE_FORMATS)} (subfolders are read with "
            "PATH/**/*.txt)"
        )
    return found


def local_members(location: str) -> list[str]:
    """Return the texts of a folder, or those that match a pattern, sorted by their path.

    A folder's own subfolders are not entered; hidden files and other formats are passed over.
    Raises `OSError` if there is none.
    """
    folder = expanded(location)
    if "*" not in location and not folder.is_dir():
        raise NotADirectoryError("a file, not a folder" if folder.exists() else "no such folder")
    pattern = pattern_of(location)
    base = fixed_folder(pattern)
    rest = pattern.removeprefix(base).lstrip("/")
    literal = re.sub(r"([?\[])", r"[\1]", rest)  # a name may hold what is special elsewhere
    folder = expanded(base)
    return only_texts(
        sorted(
            str(path)
            for path in folder.glob(literal)
            if path.is_file()
            and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        )
    )
