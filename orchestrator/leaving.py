"""End the process while an evaluation may still be computing in a thread of it.

Python ends a daemon thread where it next wants the interpreter's lock. If that is below a C++
frame, as everywhere in torch, the process is aborted instead of ending with its exit code.
"""

import os
import sys
import threading

EVALUATOR_THREAD = "evaluator"
"""Name of the thread that evaluates in this process."""


def leave(code: int) -> None:
    """End the process with this exit code, at once if an evaluation does not come to a stop.

    By then everything that was finished is in the store.
    """
    if any(thread.name == EVALUATOR_THREAD for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
