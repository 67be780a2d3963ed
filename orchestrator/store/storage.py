"""Where the store's files lie: whole files only, on a disk or behind an object store.

A file appears complete or not at all. On a disk that takes a temporary name with a leading `_`
(readers ignore those; a `.tmp` suffix they would read), fsync, rename, and fsync of the folder.
On an object store a write is one PUT of a complete object. Nothing is modified in place, with
one exception: `replace`, for the small heartbeat files that only their own driver writes.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

import pyarrow as pa
import pyarrow.fs
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from orchestrator.errors import StoreError, UsageError
from workers.contract.file_datasets import expanded

REMOTE_SCHEMES = ("s3://", "gs://", "gcs://")
"""Store URIs that pyarrow opens; everything else is a path."""
ATTEMPTS = 5
"""How often an object store is asked before its error is believed."""

_Result = TypeVar("_Result")


class Storage(Protocol):
    """Folders of whole files. Names are relative to the root; every failure is an `OSError`."""

    uri: str
    local_root: Path | None
    """The root as a path; None where the files are not on this machine's file systems."""

    def names(self, folder: str) -> list[str]:
        """Return the file names in a folder, sorted; none if there is no such folder."""

    def open(self, folder: str, name: str) -> pa.NativeFile:
        """Open a file for reading; `FileNotFoundError` once it has vanished."""

    def fetch(self, folder: str, name: str) -> pa.Buffer:
        """Return the content of a file; `OSError` means that it cannot be had at present."""

    def write(self, folder: str, name: str, data: bytes | pa.Buffer) -> None:
        """Make a file appear, complete and durable."""

    def replace(self, folder: str, name: str, data: bytes) -> None:
        """Make a file appear, or take the place of an older one; not synced to the disk."""

    def delete(self, folder: str, name: str) -> None:
        """Remove a file; fine if it is gone already."""


def open_storage(uri: str | os.PathLike[str]) -> Storage:
    """Open a store root: a path, `file://PATH`, `s3://BUCKET/PREFIX` or `gs://BUCKET/PREFIX`.

    Nothing is created before the first write. Raises `UsageError` for a root that cannot be one.
    """
    text = os.fspath(uri)
    _, mark, rest = text.partition("://")
    if not text.strip() or (mark and not rest.strip("/")):
        raise UsageError(
            f"--store {text!r}: names no store; give a path, s3://BUCKET/PATH or gs://BUCKET/PATH"
        )
    if text.startswith(REMOTE_SCHEMES):
        return ObjectStorage(text)
    if "://" in text and not text.startswith("file://"):
        raise UsageError(f"--store {text}: must be a path, s3://… or gs://…")
    root = expanded(text.removeprefix("file://")).absolute()
    try:
        file = next((part for part in (root, *root.parents) if part.is_file()), None)
        is_other = file is None and root.exists() and not root.is_dir()
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise UsageError(f"--store {text:.80}: cannot be used: {error.strerror}") from error
    if file is not None or is_other:
        raise UsageError(f"--store {text}: {file or root} is a file; a store is a folder")
    return LocalStorage(root)


class LocalStorage:
    """Files under a folder of a local or shared file system."""

    def __init__(self, root: Path) -> None:
        self.uri = str(root)
        self.local_root: Path | None = root
        self._root = root
        self._started: set[str] = set()

    def names(self, folder: str) -> list[str]:
        """Return the file names in a folder, sorted; none if there is no such folder."""
        try:
            with os.scandir(self._root / folder) as entries:
                return sorted(entry.name for entry in entries if entry.is_file())
        except FileNotFoundError:
            return []

    def open(self, folder: str, name: str) -> pa.NativeFile:
        """Open a file for reading; `FileNotFoundError` once it has vanished."""
        return pa.memory_map(str(self._root / folder / name))

    def fetch(self, folder: str, name: str) -> pa.Buffer:
        """Return the content of a file."""
        return pa.py_buffer((self._root / folder / name).read_bytes())

    def write(self, folder: str, name: str, data: bytes | pa.Buffer) -> None:
        """Make a file appear, complete and durable."""
        self._put(folder, name, data, durable=True)

    def replace(self, folder: str, name: str, data: bytes) -> None:
        """Make a file appear, or take the place of an older one; not synced to the disk."""
        self._put(folder, name, data, durable=False)

    def delete(self, folder: str, name: str) -> None:
        """Remove a file; fine if it is gone already."""
        (self._root / folder / name).unlink(missing_ok=True)

    def _put(self, folder: str, name: str, data: bytes | pa.Buffer, *, durable: bool) -> None:
        directory = self._root / folder
        if not directory.is_dir():
            # A folder that held files and is gone was removed under the sweep: creating it again
            # would hide that everything measured so far is lost.
            if folder in self._started:
                raise FileNotFoundError(f"{directory} was removed while in use")
            directory.mkdir(parents=True, exist_ok=True)
            _sync_folder(directory.parent)
        temporary = directory / f"_{name}"
        try:
            with temporary.open("wb") as file:
                file.write(data)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            temporary.replace(directory / name)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        self._started.add(folder)
        if durable:
            _sync_folder(directory)


class ObjectStorage:
    """Objects under a prefix of a bucket, through `pyarrow.fs`.

    attempts: how often the store is asked before its error is believed.
    """

    def __init__(self, uri: str, *, attempts: int = ATTEMPTS) -> None:
        self.uri, self._attempts = uri.rstrip("/"), attempts
        self.local_root: Path | None = None
        try:
            files, self._prefix = pyarrow.fs.FileSystem.from_uri(self.uri)
            if isinstance(files, pyarrow.fs.S3FileSystem):
                files = _single_put(self.uri, files.region)
            self._files = files
        except (pa.ArrowInvalid, OSError, ValueError) as error:
            raise StoreError(f"--store {uri}: cannot be opened: {error}") from error

    def names(self, folder: str) -> list[str]:
        """Return the object names under a folder, sorted."""
        base = f"{self._prefix}/{folder}"
        selector = pyarrow.fs.FileSelector(base, allow_not_found=True)
        infos = self._patiently(lambda: self._files.get_file_info(selector))
        return sorted(info.base_name for info in infos if info.is_file)

    def open(self, folder: str, name: str) -> pa.NativeFile:
        """Open an object for reading; `FileNotFoundError` once it has vanished."""
        path = f"{self._prefix}/{folder}/{name}"
        return self._patiently(lambda: self._files.open_input_file(path))

    def fetch(self, folder: str, name: str) -> pa.Buffer:
        """Return the content of an object, asked for repeatedly."""

        def read() -> pa.Buffer:
            with self._files.open_input_file(f"{self._prefix}/{folder}/{name}") as file:
                return file.read_buffer()

        return self._patiently(read)

    def write(self, folder: str, name: str, data: bytes | pa.Buffer) -> None:
        """Put one complete object; repeated on errors, which is safe for a key of one's own."""
        self._patiently(lambda: self._put(folder, name, data))

    def replace(self, folder: str, name: str, data: bytes) -> None:
        """Put an object in the place of an older one."""
        self._put(folder, name, data)

    def delete(self, folder: str, name: str) -> None:
        """Remove an object; fine if it is gone already."""
        try:
            self._files.delete_file(f"{self._prefix}/{folder}/{name}")
        except FileNotFoundError:
            return

    def _put(self, folder: str, name: str, data: bytes | pa.Buffer) -> None:
        stream = self._files.open_output_stream(f"{self._prefix}/{folder}/{name}")
        stream.write(data)
        stream.close()

    def _patiently(self, action: Callable[[], _Result]) -> _Result:
        """Repeat an action: a dropped connection is ordinary, a refusal is not."""
        retrying = Retrying(
            stop=stop_after_attempt(self._attempts),
            wait=wait_random_exponential(multiplier=0.2, max=5),
            retry=retry_if_exception(_may_pass),
            reraise=True,
        )
        return retrying(action)


def _single_put(uri: str, region: str) -> pyarrow.fs.S3FileSystem:
    """Open S3 so that a small object is one PutObject, and nothing waits forever.

    By default even a small object is a multipart upload: three requests in place of one. The URI's
    user, password and query are those that `FileSystem.from_uri` documents.
    """
    address = urlsplit(uri)
    query = dict(parse_qsl(address.query))
    # `from_uri` obeys these variables of the AWS tools, the constructor does not.
    other = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    scheme, _, endpoint = other.rpartition("://")
    options: dict[str, Any] = {  # the stubs do not know all of them
        "access_key": unquote(address.username) if address.username else None,
        "secret_key": unquote(address.password) if address.password else None,
        "region": region,
        "scheme": query.get("scheme") or scheme or "https",
        "endpoint_override": query.get("endpoint_override") or endpoint or None,
        "allow_delayed_open": True,
        "connect_timeout": 10.0,
        "request_timeout": 60.0,
    }
    return pyarrow.fs.S3FileSystem(**options)


def _may_pass(error: BaseException) -> bool:
    hopeless = (FileNotFoundError, PermissionError)
    refused = "ACCESS_DENIED" in str(error) or "NO_SUCH_BUCKET" in str(error)
    return isinstance(error, OSError) and not isinstance(error, hopeless) and not refused


def _sync_folder(directory: Path) -> None:
    """Make a rename in this folder survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
