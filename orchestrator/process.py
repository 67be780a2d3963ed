"""What surrounds a command: the settings of its process, signals, and leaving.

What is set for other programs decides nothing here (`settle`): a notebook's matplotlib backend, an
ASCII locale, warnings turned into errors, a module of the user's own in the working directory.

Ctrl-C once asks for a clean stop, twice ends at once. SIGTERM, which Ray and batch systems send
before they kill, and SIGHUP, which a closed terminal sends, ask for a clean stop as well.

Python ends a daemon thread where it next wants the interpreter's lock. If that is below a C++
frame, as everywhere in torch, the process is aborted instead of ending with its exit code; so an
inline evaluation that does not come to a stop is left with `os._exit`.
"""

import codecs
import contextlib
import io
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from orchestrator.errors import EXIT_FAILED

SIGNALS = (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM))
EVALUATOR_THREAD = "evaluator"
"""Name of the thread that evaluates in this process."""


def run_command(command: Callable[..., Any], name: str) -> None:
    """Run a console script's command, and leave with its exit code."""
    settle()
    code = EXIT_FAILED
    try:
        command(prog_name=name)
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    except OSError as error:  # the library names its own files; this is standard output
        _complain(f"Error: cannot write the output: {error.strerror or error}")
    try:
        sys.stdout.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            _complain(f"Error: cannot write the output: {error.strerror or error}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        code = EXIT_FAILED
    except (ValueError, AttributeError):  # closed, or none at all
        pass
    leave(code)


def settle() -> None:
    """Set what the product wants of its own process, whatever the environment says."""
    os.environ["MPLBACKEND"] = "agg"  # read when matplotlib is imported
    for name in ("TORCH_LOGS", "TRANSFORMERS_VERBOSITY"):  # a wrong one ends torch's import
        os.environ.pop(name, None)
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # fonts, an unwritable HOME
    if sys.warnoptions:
        warnings.resetwarnings()
        warnings.simplefilter("ignore")
    warnings.showwarning = _show_warning
    codecs.register_error("spelled", _spelled)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A file or a pipe gets the same bytes everywhere; a terminal what it can show.
            encoding = None if stream.isatty() else "utf-8"
            stream.reconfigure(encoding=encoding, errors="spelled")
    # A user's `random.py` or `numpy.py` must not stand for the real one: an empty entry of
    # PYTHONPATH puts the working directory first. A checkout of this package is left there, as it
    # is where the package comes from.
    here, package = Path.cwd().resolve(), Path(__file__).resolve().parents[1]
    if here != package:
        sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != here]


_SPELLINGS = {"\u2026": "...", "\u00d7": "x", "\u2013": "-", "\u2014": "-", "\u2212": "-"}
_SPELLINGS |= {"\u2264": "<=", "\u2265": ">=", "\u2192": "->", "\u00b7": "*", "\u00b1": "+-"}


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    _complain(f"warning: {message}")


def _spelled(error: UnicodeError) -> tuple[str, int]:
    """Stand in for characters that a terminal's encoding lacks."""
    assert isinstance(error, UnicodeEncodeError), "an error handler of output"
    characters = error.object[error.start : error.end]
    return "".join(_SPELLINGS.get(character, "?") for character in characters), error.end


def _complain(message: str) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        print(message, file=sys.stderr, flush=True)  # noqa: T201


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
                number: signal.signal(number, self._note)
                for number in SIGNALS
                # SIGHUP is left alone under `nohup`: the sweep shall outlive the terminal.
                if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN
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


def leave(code: int) -> None:
    """End the process with this exit code, at once if an evaluation does not come to a stop.

    By then everything that was finished is in the store.
    """
    if any(thread.name == EVALUATOR_THREAD for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
