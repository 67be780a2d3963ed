"""Follow running drivers through the states that they write into the store."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any

from rich.console import Group
from rich.text import Text

from orchestrator.progress.display import Running, Snapshot, headline, render
from orchestrator.reports.status import living_drivers
from orchestrator.store.store import Store
from workers.contract.events import Progress

LOOK_SECONDS = 1.0


def snapshot_of(state: Mapping[str, Any]) -> Snapshot:
    """Rebuild a driver's snapshot from the state that it wrote."""
    counts = {"total", "done_before", "done_elsewhere", "ok", "failed", "skipped", "waiting"}
    known = {
        field.name: state[field.name]
        for field in fields(Snapshot)
        if field.name in state and field.name != "running"
    }
    missing = dict.fromkeys(counts, 0) | {"sweep": "?"}
    running = tuple(_running(item) for item in state.get("running", ()))
    return Snapshot(**{**missing, **known, "running": running})


def watch(
    store: Store, *, sleep: Callable[[float], None] = time.sleep
) -> Iterator[list[Mapping[str, Any]]]:
    """Yield the states of the living drivers about once a second, until there are none."""
    while states := living_drivers(store):
        yield list(states)
        sleep(LOOK_SECONDS)


def render_drivers(states: list[Mapping[str, Any]]) -> Group:
    """Return the display of all drivers."""
    parts: list[Any] = []
    for state in states:
        parts += [Text(_who(state), style="bold"), render(snapshot_of(state))]
    return Group(*parts)


def plain_line(state: Mapping[str, Any]) -> str:
    """Return one driver in one line."""
    return f"{_who(state)}: {headline(snapshot_of(state))}"


def _who(state: Mapping[str, Any]) -> str:
    return f"{state.get('hostname')} pid {state.get('pid')}"


def _running(item: Mapping[str, Any]) -> Running:
    names = [field.name for field in fields(Progress)]
    progress = Progress(**{name: item[name] for name in names}) if "phase" in item else None
    return Running(run_id=item["run_id"], label=item["label"], progress=progress)
