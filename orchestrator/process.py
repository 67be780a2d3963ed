"""Signals, and leaving the process.

Ctrl-C once asks for a clean stop, twice ends at once. SIGTERM, which Ray and batch systems send
before they kill, and SIGHUP, which a closed terminal sends, ask for a clean stop as well.

Python ends a daemon thread where it next wants the interpreter's lock. If that is below a C++
frame, as everywhere in torch, the process is aborted instead of ending with its exit code; so an
inline evaluation that does not come to a stop is left with `os._exit`.
"""

import os
import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM))
EVALUATOR_THREAD = "evaluator"
"""Name of the thread that evaluates in this process."""


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


def leave(code: int) -> None:
    """End the process with this exit code, at once if an evaluation does not come to a stop.

    By then everything that was finished is in the store.
    """
    if any(thread.name == EVALUATOR_THREAD for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
