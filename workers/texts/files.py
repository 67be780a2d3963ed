"""Reading bytes from where a user may keep a file: a local path, or an object store's URI.

Everything is streamed, because a text or a weight file may not fit into memory. Failures are
plain `OSError`; the caller knows what the file was for and says it.
"""

import hashlib
import io
import os
import re
import stat
from typing import IO, Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.fs as pafs

from workers.contract.file_datasets import (
    expanded,
    fixed_folder,
    local_members,
    only_texts,
    pattern_of,
)

_STREAM_BYTES = 1 << 20
_SCHEMES = ("s3", "gs", "gcs", "file")

_hashes: dict[tuple[str, int, int], str] = {}
"""sha256 by (location, size, modification time): a grid names one file in many evaluations."""


def is_uri(location: str) -> bool:
    """Tell `s3://bucket/text.txt` from a local path."""
    return "://" in location


def absolute(location: str) -> str:
    """Return a local path in full, symbolic links kept; a URI as it is."""
    if is_uri(location):
        return location
    # A closing slash says that a folder is meant, whatever its name ends in.
    return str(expanded(location).absolute()) + "/" * location.endswith("/")


def open_binary(location: str) -> IO[bytes]:
    """Open a file for reading, seekable. Raises `OSError`, for a folder too."""
    if not is_uri(location):
        _refuse_endless(location)
        return expanded(location).open("rb")
    filesystem, path = _from_uri(location)
    if filesystem.get_file_info(path).type == pafs.FileType.NotFound:
        raise FileNotFoundError(f"no such object: {location}")
    file: Any = filesystem.open_input_file(path)  # a raw stream in all but its declared type
    return io.BufferedReader(file)


def members(location: str) -> list[str]:
    """Return the texts of a folder, or those that match a pattern; see `local_members`."""
    if not is_uri(location):
        return local_members(location)
    pattern = pattern_of(location)
    base = fixed_folder(pattern)
    filesystem, folder = _from_uri(base)
    selector = pafs.FileSelector(folder, recursive=True, allow_not_found=True)
    parts = re.split(r"(\*\*/|\*)", pattern.removeprefix(base))
    wild = {"**/": "(?:.*/)?", "*": "[^/]*"}
    wanted = re.compile("".join(wild.get(part) or re.escape(part) for part in parts))
    names = (
        info.path.removeprefix(folder)
        for info in filesystem.get_file_info(selector)
        if info.type == pafs.FileType.File
    )
    return only_texts(sorted(base + name for name in names if wanted.fullmatch(name)))


def size_and_time(location: str) -> tuple[int, int]:
    """Return (bytes, modification time in ns); a changed file gives another pair."""
    if not is_uri(location):
        status = _refuse_endless(location)
        return status.st_size, status.st_mtime_ns
    filesystem, path = _from_uri(location)
    info = filesystem.get_file_info(path)
    return info.size or 0, info.mtime_ns or 0


def sha256(location: str) -> str:
    """Return the hex digest of a file's bytes, read once per process and version of the file."""
    key = (absolute(location), *size_and_time(location))
    if key not in _hashes:
        digest = hashlib.sha256()
        with open_binary(location) as file:
            while block := file.read(_STREAM_BYTES):
                digest.update(block)
        _hashes[key] = digest.hexdigest()
    return _hashes[key]


def _refuse_endless(location: str) -> os.stat_result:
    """Return the status of a local file. Raises `OSError` for one that may never end."""
    status = expanded(location).stat()
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        raise OSError("a pipe, a socket or a device; name a file")
    return status


def _from_uri(location: str) -> tuple[pafs.FileSystem, str]:
    scheme, _, rest = location.partition("://")
    if scheme not in _SCHEMES or not rest.strip("/"):
        raise OSError(
            "neither a path nor s3://BUCKET/PATH nor gs://BUCKET/PATH; what lies elsewhere has to "
            "be downloaded first"
        )
    try:
        # A key may hold what is special in a URI; `%` may be an escape of the user's own.
        return pafs.FileSystem.from_uri(quote(location, safe="/:@?=&%+,;~!$'()*"))
    except pa.ArrowInvalid as error:  # an unknown scheme, or a URI that cannot be parsed
        raise OSError(f"{location}: {error}") from error
