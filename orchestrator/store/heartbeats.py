"""How drivers on one store know of each other, of `sweep status`, and of `sweep cancel`.

A running driver rewrites `STORE/drivers/<writer>.json` about once a second, with a counter that
rises. Another driver is alive while its counter advances under one's own clock; clocks of
different machines are never compared. On the same machine a vanished process is dead at once.
"""

import contextlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import StoreError
from orchestrator.store.storage import Storage
from orchestrator.store.store import Store

FOLDER = "drivers"
BEAT_SECONDS = 1.0
HURRY_SECONDS = 0.2
"""The same while drivers take work from each other's shares, if evaluations are short."""
DEAD_AFTER = 10.0
"""Seconds without a rising counter after which a driver is taken for dead."""
ASLEEP_AFTER = 1.5 * DEAD_AFTER
"""Seconds without a look at the others after which this driver must have been stopped itself."""
MISSED_BEATS = 10
"""Heartbeats in a row that may fail to be written; results are never treated so lightly."""
STATE_VERSION = 1
LOOK_SECONDS = 1.0
_LISTEN_SECONDS = 2.5 * BEAT_SECONDS


@dataclass
class Peer:
    """Another driver, as last seen."""

    state: Mapping[str, Any]
    advanced_at: float
    """When its counter was last seen to rise, by this process's clock."""


def read_drivers(storage: Storage) -> dict[str, dict[str, Any]]:
    """Return the latest state of every driver that has not ended, by writer."""
    states = {}
    for name in storage.names(FOLDER):
        if not name.endswith(".json") or name.startswith(("_", ".")):
            continue
        try:
            with storage.open(FOLDER, name) as file:
                state = json.loads(file.read())
        except (OSError, ValueError):  # gone, or damaged: the next heartbeat replaces it
            continue
        if isinstance(state, dict):
            states[name.removesuffix(".json")] = state
    return states


def request_cancel(storage: Storage, writer: str) -> None:
    """Ask a driver to stop cleanly; it looks about once a second."""
    try:
        storage.replace(FOLDER, f"{writer}.cancel", b"{}")
    except OSError as error:
        raise StoreError(f"{storage.uri}/{FOLDER}: cannot be written: {error}") from error


def is_gone(state: Mapping[str, Any]) -> bool:
    """Tell whether a driver of this very machine no longer exists; False if one cannot know."""
    if state.get("boot_id") != boot_id() or state.get("boot_id") is None:
        return False
    return process_start(int(state.get("pid") or 0)) != state.get("process_start")


class Heartbeat:
    """This driver's heartbeat, and what it knows of the others on its store."""

    def __init__(
        self,
        storage: Storage,
        writer: str,
        sweep: str,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._storage, self._writer, self._sweep, self._clock = storage, writer, sweep, clock
        self._counter = 0
        self._missed = 0
        self._next = clock()
        self._first = clock()
        self._looked_at = clock()
        self._seen: dict[str, tuple[int, float]] = {}
        self.peers: dict[str, Peer] = {}
        """Other drivers that are taken to be alive."""
        self.cancelled = False
        """Whether someone has asked this driver to stop."""

    def is_due(self, *, hurry: bool = False) -> bool:
        """Tell whether it is time for a heartbeat."""
        return self._clock() >= self._next - (BEAT_SECONDS - HURRY_SECONDS if hurry else 0.0)

    def write(self, describe: Callable[[], Mapping[str, Any]]) -> None:
        """Look at the others and write a heartbeat. Raises `StoreError` if it keeps failing."""
        self._next = self._clock() + BEAT_SECONDS
        self._counter += 1
        try:
            self._look()
            state = {
                **describe(),
                "state_version": STATE_VERSION,
                "writer": self._writer,
                "counter": self._counter,
                "beat_seconds": BEAT_SECONDS,
                "hostname": socket.gethostname(),
                "boot_id": boot_id(),
                "pid": os.getpid(),
                "process_start": process_start(os.getpid()),
                "peers": sorted(self.peers),
            }
            text = json.dumps(state, allow_nan=False).encode()
            self._storage.replace(FOLDER, f"{self._writer}.json", text)
            self._missed = 0
        except OSError as error:
            self._missed += 1
            if self._counter == 1 or self._missed >= MISSED_BEATS:
                raise StoreError(
                    f"{self._storage.uri}/{FOLDER}: cannot be written: {error}; make the store "
                    "writable and launch again"
                ) from error

    def is_introduced(self) -> bool:
        """Tell whether every other driver knows of this one, or has had the time to."""
        waited = self._clock() - self._first
        known = all(self._writer in peer.state.get("peers", ()) for peer in self.peers.values())
        return known or waited > 4 * BEAT_SECONDS

    def others_in_flight(self) -> set[str]:
        """Return the run ids that living drivers have under way."""
        return {
            run_id for peer in self.peers.values() for run_id in peer.state.get("in_flight", ())
        }

    def share(self) -> tuple[int, int]:
        """Return (rank of this driver, number of drivers) among those on the same sweep."""
        same = (w for w, peer in self.peers.items() if peer.state.get("sweep") == self._sweep)
        writers = sorted([*same, self._writer])
        return writers.index(self._writer), len(writers)

    def end(self) -> None:
        """Remove this driver's files: it has ended."""
        with contextlib.suppress(OSError):
            self._storage.delete(FOLDER, f"{self._writer}.json")
            self._storage.delete(FOLDER, f"{self._writer}.cancel")

    def _look(self) -> None:
        now = self._clock()
        # A laptop that slept, a process that was stopped: nobody was listened to meanwhile, so
        # the time counts for no one. A writer that is merely late loses nothing by it.
        absent = now - self._looked_at
        self._looked_at = now
        if absent > ASLEEP_AFTER:
            self._seen = {writer: (n, since + absent) for writer, (n, since) in self._seen.items()}
        peers = {}
        for writer, state in read_drivers(self._storage).items():
            if writer == self._writer:
                continue
            counter, since = self._seen.get(writer, (-1, now))
            if state.get("counter") != counter:
                since = now
            self._seen[writer] = (int(state.get("counter") or 0), since)
            if is_gone(state) or now - since > DEAD_AFTER:
                self._storage.delete(FOLDER, f"{writer}.json")  # a living one writes it again
            else:
                peers[writer] = Peer(state, since)
        self.peers = peers
        self.cancelled = f"{self._writer}.cancel" in self._storage.names(FOLDER)


def boot_id() -> str | None:
    """Return what gives process numbers their meaning; None where that is not known.

    The boot of the machine and the namespace of the numbers: containers of one machine share the
    boot and not the numbers, and cannot see whether each other's processes live.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return None


def process_start(pid: int) -> str | None:
    """Return when a process began, in the kernel's ticks; None if there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]


def watch_drivers(
    store: Store, *, sleep: Callable[[float], None] = time.sleep
) -> Iterator[list[Mapping[str, Any]]]:
    """Yield the states of the living drivers about once a second, until there are none."""
    while states := living_drivers(store):
        yield list(states)
        sleep(LOOK_SECONDS)


def living_drivers(
    store: Store, *, sleep: Callable[[float], None] = time.sleep
) -> list[dict[str, Any]]:
    """Return the states of the drivers whose counter advances.

    On this machine a look at the process is enough; others are listened to for two heartbeats.
    No clocks are compared.
    """
    first = {w: s for w, s in read_drivers(store.storage).items() if not is_gone(s)}
    doubtful = {w: s["counter"] for w, s in first.items() if not _is_here(s) and "counter" in s}
    if not doubtful:
        return [state for state in first.values() if _is_here(state)]
    sleep(_LISTEN_SECONDS)
    return [
        state
        for writer, state in read_drivers(store.storage).items()
        if (_is_here(state) and not is_gone(state))
        or state.get("counter") != doubtful.get(writer, state.get("counter"))
    ]


def _is_here(state: Mapping[str, Any]) -> bool:
    return state.get("boot_id") is not None and state["boot_id"] == boot_id()
