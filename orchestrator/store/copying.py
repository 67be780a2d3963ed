"""Copy the results of another store into this one.

Parts are immutable and carry their writer's name, so copying is: whatever is not here yet. Rows
that arrive twice, because the source was compacted between two fetches, have the same `row_id`
and are read once.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.errors import StoreError, UsageError
from orchestrator.store.storage import Storage, open_storage
from orchestrator.store.store import DOCUMENTS_FOLDER, TOKENS_FOLDER, TRIALS_FOLDER, Store

FOLDERS = (TRIALS_FOLDER, TOKENS_FOLDER)
"""What holds results; parts of unfinished evaluations only matter where they go on."""
_LOOKS = 5


@dataclass(frozen=True)
class Fetched:
    """What a fetch has done."""

    copied: int
    already_there: int


def fetch(source: str, destination: Store, *, unfinished: bool = False) -> Fetched:
    """Copy the files of a store URI that the destination does not have.

    unfinished: also the finished parts of evaluations under way, so that a launch here can go
    on with them. Raises `StoreError` if there is no store at the source.
    """
    storage = open_storage(source)
    folders = (*FOLDERS, DOCUMENTS_FOLDER) if unfinished else FOLDERS
    if storage.uri == destination.uri:
        raise UsageError(f"--from {source}: is the store itself; name another one to copy from")
    copied, already = 0, 0
    found_any = False
    for folder in folders:
        there = set(destination.storage.names(folder))
        names = _names(storage, folder)
        found_any |= bool(names)
        already += sum(name in there for name in names)
        copied += sum(1 for _ in _copy(storage, destination.storage, folder, there))
    if not found_any:
        raise StoreError(f"{source}: holds no results; is it a store?")
    return Fetched(copied, already)


def _copy(source: Storage, target: Storage, folder: str, there: set[str]) -> Iterator[str]:
    """Copy what is missing; list again when a file vanishes, because the store was compacted."""
    for _ in range(_LOOKS):
        vanished = False
        for name in _names(source, folder):
            if name in there:
                continue
            try:
                with source.open(folder, name) as file:
                    data = file.read()
            except FileNotFoundError:
                vanished = True
                continue
            target.write(folder, name, data)
            there.add(name)
            yield name
        if not vanished:
            return
    raise StoreError(f"{source.uri}/{folder} keeps changing; fetch again in a minute")


def _names(storage: Storage, folder: str) -> list[str]:
    return [
        name
        for name in storage.names(folder)
        if name.endswith(".parquet") and not name.startswith(("_", "."))
    ]
