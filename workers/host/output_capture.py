"""Keep what one evaluation prints in a file of its own.

File descriptors are redirected, not only `sys.stdout`: what CUDA and other native code write
before they abort is what one wants to read afterwards.
"""

import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType

FALLBACK = Path(tempfile.gettempdir()) / "sinksweep-logs"
"""Where logs go if their folder cannot be written on this machine."""


class OutputCapture:
    """While entered, standard output and error go to `path`; None leaves them alone.

    An empty log is removed at the end.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._log: int | None = None
        self._saved: list[tuple[int, int]] = []
        self._started = time.monotonic()
        self.kept: str | None = None
        """The file, once the capture has ended and there is something in it."""

    def __enter__(self) -> "OutputCapture":
        if self._path is None:
            return self
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        with contextlib.suppress(OSError):  # a full disk must not fail an evaluation
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._log = os.open(self._path, flags, 0o644)
            except OSError:
                self._path = FALLBACK / self._path.name
                FALLBACK.mkdir(parents=True, exist_ok=True)
                self._log = os.open(self._path, flags, 0o644)
            _flush()
            for descriptor in (1, 2):
                self._saved.append((descriptor, os.dup(descriptor)))
                os.dup2(self._log, descriptor)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._log is None or self._path is None:
            return
        _flush()
        for descriptor, saved in self._saved:
            os.dup2(saved, descriptor)
            os.close(saved)
        size = os.fstat(self._log).st_size
        os.close(self._log)
        if size:
            self.kept = str(self._path)
        else:
            self._path.unlink(missing_ok=True)

    def write(self, text: str) -> None:
        """Add lines to the log."""
        if self._log is not None:
            _flush()
            with contextlib.suppress(OSError):
                os.write(self._log, f"{text.rstrip()}\n".encode())

    def seconds(self) -> float:
        """Return how long the capture has been open."""
        return time.monotonic() - self._started


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
