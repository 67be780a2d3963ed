"""What a running sweep tells the person who started it."""

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.progress.causes import cause_of
from orchestrator.progress.snapshot import Snapshot, label
from workers.contract.events import Progress

PLAIN_INTERVAL = 5.0
"""Seconds between two lines where the output is not a terminal."""
STILL_INTERVAL = 15.0
"""The same while nothing ends."""
SHOWN_IN_LINE = 2
"""Evaluations under way that a line of text describes."""


class Told:
    """What a person has been told about failures: each cause once; the end has it whole."""

    def __init__(self) -> None:
        self._causes: set[tuple[str | None, str]] = set()

    def line(self, row: Mapping[str, Any]) -> str:
        """Return a failed attempt as text."""
        cause = (row.get("error_kind"), cause_of(row.get("error_message")))
        if cause in self._causes:
            return f"{label(row)}: failed ({row.get('error_kind')}), for the same reason"
        self._causes.add(cause)
        return describe_row(row)


class PlainProgress:
    """Progress as lines of text, for logs and pipes."""

    def __init__(
        self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream, self._clock = stream or sys.stderr, clock
        self._printed_at = -STILL_INTERVAL
        self._ended = -1
        self._told = Told()

    def update(self, snapshot: Snapshot) -> None:
        """Print one line, every few seconds if something has ended, and at the end."""
        now, ended = self._clock(), snapshot.done + snapshot.failed
        interval = STILL_INTERVAL if ended == self._ended else PLAIN_INTERVAL
        if now >= self._printed_at + interval or snapshot.state == "ended":
            self._printed_at, self._ended = now, ended
            self._print(state_line(snapshot))

    def row(self, row: Mapping[str, Any]) -> None:
        """Print a failed attempt; results are counted in the next line."""
        if row.get("status") == "failed":
            self._print(self._told.line(row))

    def note(self, message: str) -> None:
        """Print a message."""
        self._print(message)

    def close(self) -> None:
        """Nothing to put away."""

    def _print(self, line: str) -> None:
        print(line, file=self._stream, flush=True)


class LiveProgress:
    """Progress as a display that rewrites itself, for terminals."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._told = Told()
        self._live = Live(console=self._console, auto_refresh=False)
        self._live.start()

    def update(self, snapshot: Snapshot) -> None:
        """Redraw."""
        self._live.update(render_progress(snapshot), refresh=True)

    def row(self, row: Mapping[str, Any]) -> None:
        """Print a failed attempt above the display."""
        if row.get("status") == "failed":
            self._console.print(self._told.line(row), markup=False, highlight=False)

    def note(self, message: str) -> None:
        """Print a message above the display."""
        self._console.print(message, markup=False, highlight=False)

    def close(self) -> None:
        """Leave the last state on the screen."""
        self._live.stop()


def progress_for(stream: TextIO | None = None) -> "LiveProgress | PlainProgress":
    """Return the display that fits the output: live on a terminal, else lines."""
    console = Console(file=stream or sys.stderr)
    return LiveProgress(console) if console.is_terminal else PlainProgress(stream)


def headline(snapshot: Snapshot) -> str:
    """Return the state in one line."""
    parts = [
        f"{snapshot.sweep}: {snapshot.done}/{snapshot.total} done",
        f"{len(snapshot.running)} running",
        f"{snapshot.failed} failed",
    ]
    if snapshot.skipped:
        parts.append(f"{snapshot.skipped} skipped")
    if snapshot.per_second:
        parts.append(rate(snapshot.per_second))
    if snapshot.seconds_left is not None and snapshot.state == "running":
        parts.append(f"{duration(snapshot.seconds_left)} left")
    if snapshot.state != "running":
        parts.append(snapshot.state)
    return ", ".join(parts)


def state_line(snapshot: Snapshot) -> str:
    """Return the state and what the first evaluations under way are at, in one line."""
    line = headline(snapshot)
    if snapshot.latest is not None:
        line += f", latest: {describe_row(snapshot.latest)}"
    if snapshot.state == "ended":
        return line
    at = [
        f"{one.label}: {describe_progress(one.progress)}"
        for one in snapshot.running[:SHOWN_IN_LINE]
    ]
    more = len(snapshot.running) - SHOWN_IN_LINE
    return " | ".join([line, *at, *([f"and {more} more"] if more > 0 else [])])


def render_progress(snapshot: Snapshot) -> Table:
    """Return the display: headline, bar, and what is running; long lines are wrapped, not cut."""
    grid = Table.grid(padding=(0, 1))
    grid.add_row(Text(headline(snapshot)))
    if snapshot.latest is not None:
        latest = f"latest: {describe_row(snapshot.latest)}"
        grid.add_row(Text(latest, overflow="ellipsis", no_wrap=True))
    grid.add_row(ProgressBar(total=max(1, snapshot.total), completed=snapshot.done, width=60))
    for item in snapshot.running[:8]:
        grid.add_row(Text(f"  {item.label}", overflow="ellipsis", no_wrap=True))
        grid.add_row(Text(f"    {describe_progress(item.progress)}"))
    if len(snapshot.running) > 8:
        grid.add_row(Text(f"  and {len(snapshot.running) - 8} more"))
    return grid


def describe_row(row: Mapping[str, Any]) -> str:
    """Return a finished attempt in one line."""
    name = label(row)
    if row.get("status") == "failed":
        reason = (row.get("error_message") or "").splitlines()
        return f"{name}: failed ({row.get('error_kind')}): {reason[0] if reason else ''}"
    numbers = []
    if row.get("perplexity") is not None:
        numbers.append(f"perplexity {_short(row['perplexity'])}")
    if row.get("latency_ms_p50") is not None:
        numbers.append(f"{row['latency_ms_p50']:.2f} ms per token")
    return f"{name}: {', '.join(numbers) or 'ok'}"


def describe_progress(progress: Progress | None) -> str:
    """Return where an evaluation stands, in a few words."""
    if progress is None:
        return "started"
    text = progress.phase
    if progress.repeat is not None:
        text += f" repeat {progress.repeat}/{progress.repeats}"
        text += f", {progress.tokens_done:,}/{progress.tokens_total:,} steps"
    elif progress.tokens_total:
        text += f" {progress.tokens_done:,}/{progress.tokens_total:,} tokens"
    if progress.documents_total > 1:
        text += f", {progress.documents_done}/{progress.documents_total} documents"
    return text + (
        "" if progress.perplexity is None else f", perplexity {_short(progress.perplexity)}"
    )


def rate(per_second: float) -> str:
    """Return a rate in the unit that reads best."""
    for unit, seconds in (("s", 1), ("min", 60)):
        if per_second * seconds >= 1:
            return f"{per_second * seconds:.1f}/{unit}"
    return f"{per_second * 3600:.1f}/h"


def duration(seconds: float) -> str:
    """Return a length of time in the two units that read best."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def render_drivers(states: list[Mapping[str, Any]]) -> Group:
    """Return the display of all drivers."""
    parts: list[Any] = []
    for state in states:
        parts += [Text(_who(state), style="bold"), render_progress(Snapshot.from_json(state))]
    return Group(*parts)


def plain_line(state: Mapping[str, Any]) -> str:
    """Return one driver in one line."""
    return f"{_who(state)}: {state_line(Snapshot.from_json(state))}"


def _who(state: Mapping[str, Any]) -> str:
    return f"{state.get('hostname')} pid {state.get('pid')}"


def _short(perplexity: float) -> str:
    return f"{perplexity:.3f}" if perplexity < 1e7 else f"{perplexity:.3e}"
