"""Bring small local texts and model folders to workers that do not share the driver's disk.

The driver packs what a spec names by path, and the worker unpacks it into a folder of its own.
The copy is used even if the same path exists there: only the driver's content is what the run id
stands for. Rows keep the driver's paths.
"""

import contextlib
import fcntl
import hashlib
import io
import shutil
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO

from workers.contract.file_datasets import (
    FILE_PREFIX,
    expanded,
    fixed_folder,
    local_members,
    split_file_dataset,
    with_path,
)
from workers.contract.spec import EvalSpec, is_local_model

_PREFIX, _LOCK, _UNLOCKED = "sinksweep-files-", ".in-use", ".to-be-locked"
LARGEST = 64_000_000
"""Bytes; what is larger has to be on a path that the workers share."""


def local_paths(spec: EvalSpec) -> list[str]:
    """Return the paths of this machine that the spec names."""
    paths = [spec.model] if is_local_model(spec.model) else []
    if spec.dataset.startswith(FILE_PREFIX):
        paths.append(split_file_dataset(spec.dataset)[0])
    return [path for path in paths if "://" not in path]


def pack(path: str, *, largest: int = LARGEST) -> bytes | None:
    """Return a file or a folder as one archive; None if it is too large, or not here."""
    if "*" in path:
        files, source = [Path(item) for item in local_members(path)], Path(fixed_folder(path))
    else:
        source = expanded(path)
        files = [item for item in (source, *source.rglob("*")) if item.is_file()]
    if not files or sum(item.stat().st_size for item in files) > largest:
        return None
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for item in sorted(files):
            entry = tarfile.TarInfo(str(Path(source.name) / item.relative_to(source)))
            entry.size = item.stat().st_size
            archive.addfile(entry, io.BytesIO(item.read_bytes()))
    return buffer.getvalue()


class Shelf:
    """The shipped files of one worker process."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._lock: IO[str] | None = None
        self._places: dict[str, str] = {}

    def put(self, shipments: Mapping[str, bytes]) -> None:
        """Unpack archives by the path that they stand for."""
        for path, packed in shipments.items():
            if self._folder is None:
                self._folder = self._own_folder()
            target = self._folder / hashlib.sha256(packed).hexdigest()[:16]
            with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
                if hasattr(tarfile, "data_filter"):  # later releases of every Python we support
                    archive.extractall(target, filter="data")
                else:
                    archive.extractall(target)
            # A path keeps its pattern, or its closing slash, in its new place.
            if "*" in path:
                root, rest = Path(fixed_folder(path)), path.removeprefix(fixed_folder(path))
            else:
                root, rest = expanded(path), "/" * path.endswith("/")
            self._places[path] = f"{target / root.name}{rest}"

    def _own_folder(self) -> Path:
        """Make a folder, and remove those of workers that were killed and could not do it.

        A folder is in use as long as its lock is held; the kernel lets it go with the process.
        """
        for lock in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_LOCK}"):
            with contextlib.suppress(OSError), lock.open() as file:  # in use, or somebody else's
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        self._lock = (folder / _UNLOCKED).open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        return (folder / _UNLOCKED).rename(folder / _LOCK).parent

    def localise(self, spec: EvalSpec) -> EvalSpec:
        """Return the spec with the paths of what was shipped; its run id is the same."""
        if not self._places:
            return spec
        model, dataset = spec.model, spec.dataset
        if model in self._places:
            model = self._places[model]
        if dataset.startswith(FILE_PREFIX):
            path = split_file_dataset(dataset)[0]
            dataset = with_path(dataset, self._places.get(path, path))
        return replace(spec, model=model, dataset=dataset)

    def close(self) -> None:
        """Remove everything."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()
        self._folder, self._lock, self._places = None, None, {}
