"""Ctrl-C: once asks for a clean stop, twice ends at once.

SIGTERM, which Ray and batch systems send before they kill, and SIGHUP, which a closed terminal
sends, ask for a clean stop as well.
"""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM))


class Interrupts:
    """While entered, turns the first signal into a flag and the second into an exception."""

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Interrupts":
        # Python delivers signals to the main thread alone; a sweep that a notebook runs in
        # another thread is stopped through the store (`sweep cancel`).
        if threading.current_thread() is threading.main_thread():
            self._previous = {
                number: signal.signal(number, self._note) for number in SIGNALS if _matters(number)
            }
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler or signal.SIG_DFL)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


def _matters(number: signal.Signals) -> bool:
    """Leave SIGHUP alone under `nohup`: the sweep shall outlive the terminal."""
    return number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN
