"""What a file holds, by its bytes and not by its name: compression, encoding, or no text at all.

`text_bytes` gives every reader UTF-8, strictly: a byte that is not would otherwise become a
replacement character and a perplexity that nobody can explain. A wrong hint is worse than none,
so a message says what the bytes are, or only where they stop being text.
"""

import bz2
import codecs
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from typing import IO, Any, Literal

import pyarrow as pa

from workers.contract.errors import CorpusError

DAMAGED = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, pa.ArrowInvalid)
"""What reading a damaged compressed file raises, besides other `OSError`s."""
PARQUET_MAGIC = b"PAR1"
_LOOK_BYTES = 4096
_MOST_LAYERS = 3
"""Compressed within compressed; more is no text but an accident, or worse."""


def _arrow(codec: Literal["zstd", "lz4"]) -> Callable[[Any], Any]:
    return lambda file: pa.CompressedInputStream(pa.PythonFile(file, mode="r"), codec)


_DECOMPRESSORS: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file, mode="rb"),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
    b"\x28\xb5\x2f\xfd": _arrow("zstd"),
    b"\x04\x22\x4d\x18": _arrow("lz4"),
}

# The longer mark first: UTF-32's begins with UTF-16's.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}

_NO_TEXT = {
    b"version https://git-lfs.github.com/spec/": (
        "a Git LFS pointer, not the text itself: fetch it with `git lfs pull`"
    ),
    b"version https://hawser.github.com/spec/": (
        "a Git LFS pointer, not the text itself: fetch it with `git lfs pull`"
    ),
    b"/annex/objects/": "a git-annex pointer, not the text itself: fetch it with `git annex get`",
    b"%PDF-": "a PDF document: extract its text first, for example with `pdftotext`",
    b"PK\x03\x04": "a zip archive (or a document that is one, such as docx, epub): unpack it first",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive: unpack it first",
    b"Rar!": "a RAR archive: unpack it first",
    b"{\\rtf": "an RTF document: save it as plain text first",
    b"\xd0\xcf\x11\xe0": "an old Office document: save it as plain text first",
    b"SQLite format 3\x00": "an SQLite database: export the text first",
    b"ARROW1": "an Arrow file: write it as Parquet first",
    b"\xff\xff\xff\xff": "an Arrow stream: write it as Parquet first",
    b"\x93NUMPY": "a NumPy array, not text",
    b"\x89PNG": "a PNG image, not text",
    b"\xff\xd8\xff": "a JPEG image, not text",
    b"\x89HDF": "an HDF5 file, not text",
    b"\x7fELF": "a program, not text",
    PARQUET_MAGIC: "a Parquet file: name it .parquet",
}


def decompressed(file: IO[bytes], path: str) -> IO[bytes]:
    """Return the stream of what a file holds, decompressed as often as it was compressed."""
    for _ in range(_MOST_LAYERS):
        head, file = _peek(file, 8)
        unpack = next((u for magic, u in _DECOMPRESSORS.items() if head.startswith(magic)), None)
        if unpack is None:
            return file
        file = _Unpacked(unpack(file))
    raise CorpusError(f"{path}: compressed more than {_MOST_LAYERS} times; unpack it first")


def text_bytes(file: IO[bytes], path: str) -> IO[bytes]:
    """Return the text of a file as a stream of UTF-8 bytes, not yet checked to be that.

    UTF-16 and UTF-32 are recognised by their byte order mark and converted. Raises `CorpusError`
    for what is no text, with what it is.
    """
    head, file = _peek(decompressed(file, path), _LOOK_BYTES)
    for mark, encoding in _MARKS.items():
        if head.startswith(mark):
            data = file.read()
            try:
                return io.BytesIO(data.decode(encoding).encode())
            except UnicodeError as error:
                raise CorpusError(
                    f"{path}: {encoding.upper()} by its byte order mark, but damaged: {error}"
                ) from error
    for magic, what in _NO_TEXT.items():
        if head.startswith(magic):
            raise CorpusError(f"{path}: this is {what}")
    if head[257:262] == b"ustar":
        raise CorpusError(f"{path}: this is a tar archive: unpack it first")
    if unmarked := _unmarked(head):
        raise CorpusError(
            f"{path}: this looks like {unmarked} without a byte order mark; convert it with "
            f"`iconv -f {unmarked} -t UTF-8`"
        )
    return file


def decode(data: bytes, path: str, offset: int = 0) -> str:
    """Return UTF-8 as text; a leading byte order mark is no part of it. Raises `CorpusError`."""
    try:
        return data.decode("utf-8").removeprefix("\ufeff" if offset == 0 else "")
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{path}: not UTF-8 at byte {offset + error.start} ({data[error.start]:#04x}); "
            "convert it from the encoding it is in with `iconv -f ENCODING -t UTF-8`"
        ) from error


def _unmarked(head: bytes) -> str | None:
    """Tell the encoding of text whose every second byte is 0, which is also valid UTF-8."""
    pairs = len(head) // 2
    even, odd = head[0 : 2 * pairs : 2].count(0), head[1 : 2 * pairs : 2].count(0)
    if pairs < 4 or max(even, odd) < 0.4 * pairs or min(even, odd) > 0.05 * pairs:
        return None
    return "UTF-16LE" if odd > even else "UTF-16BE"


def _peek(file: IO[bytes], size: int) -> tuple[bytes, IO[bytes]]:
    """Return the first bytes of a stream, and the stream with them still to be read."""
    head = file.read(size)
    if file.seekable():
        file.seek(0)
        return head, file
    return head, io.BufferedReader(_Prefixed(head, file))


class _Unpacked(io.BufferedReader):
    """What is decompressed on the way; some of the libraries say falsely that it can go back."""

    def seekable(self) -> bool:
        """Tell that it cannot go back."""
        return False


class _Prefixed(io.RawIOBase):
    """A stream that cannot go back, with what was read of it put in front again."""

    def __init__(self, head: bytes, rest: IO[bytes]) -> None:
        self._head, self._rest = head, rest

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer."""
        data, self._head = self._head[: len(buffer)], self._head[len(buffer) :]
        data = data or self._rest.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
