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
from workers.contract.file_datasets import file_format

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
    b"\x5d\x00\x00": lzma.LZMAFile,  # the older .lzma
    b"\x28\xb5\x2f\xfd": _arrow("zstd"),
    # Frames to be skipped, with which some programs begin a file.
    **{bytes([0x50 + n]) + b"\x2a\x4d\x18": _arrow("zstd") for n in range(16)},
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
    b"\x1f\x9d": "compressed by `compress` (.Z), which is not read here: `gunzip` unpacks it",
    b"LZIP": "compressed with lzip, which is not read here: unpack it first",
    b"\x02\x21\x4c\x18": "compressed in the old format of lz4: `lz4 -d` unpacks it",
    b"\x89LZO": "compressed with lzop, which is not read here: unpack it first",
    b"\xff\x06\x00\x00sNaPpY": "compressed with snappy, which is not read here: unpack it first",
}
_WEB_PAGES = (b"<!doctype html", b"<html", b"<?xml")
_CONTROLS = frozenset({*range(32), 127} - set(b"\t\n\v\f\r\x1b\x1a"))
"""Bytes that no text of one byte a character holds."""
_MOST_CONTROLS = 0.01


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
                file = io.BytesIO(data.decode(encoding).encode())
            except UnicodeError as error:
                raise CorpusError(
                    f"{path}: {encoding.upper()} by its byte order mark, but damaged: {error}"
                ) from error
            head = file.getvalue()[:_LOOK_BYTES]
            break
    refuse_no_text(head, path)
    if file_format(path) not in ("txt", "md") and is_web_page(head):
        raise CorpusError(
            f"{path}: this is a web page or XML, not {file_format(path)}: was it saved in place of "
            "the file, by a server that wanted a login or did not find it?"
        )
    if unmarked := _unmarked(head):
        raise CorpusError(
            f"{path}: this looks like {unmarked} without a byte order mark; convert it with "
            f"`iconv -f {unmarked} -t UTF-8`"
        )
    return file


def refuse_no_text(head: bytes, path: str) -> None:
    """Raise `CorpusError` if a file begins like something that is known to be no text."""
    begin = _beginning(head)
    for magic, what in _NO_TEXT.items():
        if head.startswith(magic) or begin.startswith(magic):
            raise CorpusError(f"{path}: this is {what}")
    if b"/annex/objects/" in begin.split(b"\n")[0] and len(head) < _LOOK_BYTES:
        raise CorpusError(f"{path}: this is {_NO_TEXT[b'/annex/objects/']}")
    if head[257:262] == b"ustar":
        raise CorpusError(f"{path}: this is a tar archive: unpack it first")


def is_web_page(head: bytes) -> bool:
    """Tell whether a text begins as a web page or XML does."""
    return _beginning(head).lower().startswith(_WEB_PAGES)


def decode(data: bytes, path: str, offset: int = 0) -> str:
    """Return UTF-8 as text; a leading byte order mark is no part of it. Raises `CorpusError`."""
    try:
        text = data.decode("utf-8").removeprefix("\ufeff" if offset == 0 else "")
    except UnicodeDecodeError as error:
        head = data[error.start : error.start + _LOOK_BYTES]
        is_binary = sum(byte in _CONTROLS for byte in head) > _MOST_CONTROLS * len(head)
        remedy = (
            "with the control bytes around it this is binary data, or UTF-16 without a byte order "
            "mark"
            if is_binary
            else "convert it from the encoding it is in with `iconv -f ENCODING -t UTF-8`"
        )
        raise CorpusError(
            f"{path}: not UTF-8 at byte {offset + error.start} ({data[error.start]:#04x}); {remedy}"
        ) from error
    if "\0" in text:
        raise CorpusError(
            f"{path}: a zero at byte {offset + data.index(0)}, which no text holds: binary data, "
            "or a file that was never written to its end"
        )
    return text


def _beginning(head: bytes) -> bytes:
    """Return what a text begins with behind a byte order mark and white space."""
    return head.removeprefix(codecs.BOM_UTF8).lstrip()


def _unmarked(head: bytes) -> str | None:
    """Tell the encoding of text of which every second byte is 0, or three of four.

    Such bytes are also valid UTF-8.
    """
    zeros = [head[place::4].count(0) / max(1, len(head) // 4) for place in range(4)]
    patterns = {
        "UTF-16LE": (False, True, False, True),
        "UTF-16BE": (True, False, True, False),
        "UTF-32LE": (False, True, True, True),
        "UTF-32BE": (True, True, True, False),
    }
    for encoding, pattern in patterns.items():
        fits = (
            share > 0.4 if is_zero else share < 0.05
            for share, is_zero in zip(zeros, pattern, strict=True)
        )
        if len(head) >= 8 and all(fits):
            return encoding
    return None


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
