"""A page as a browser shows it: Debian's `chromium`, headless, without a network.

Tests that need it are skipped, with the reason, where it is not installed; `.ci/run` installs it.
"""

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

PROGRAM = shutil.which("chromium")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"),
    *("--disable-background-networking", "--virtual-time-budget=3000", "--timeout=60000"),
)
needs_chromium = pytest.mark.skipif(
    PROGRAM is None, reason="no chromium: apt-get install chromium (.ci/run does)"
)


@dataclass(frozen=True)
class Seen:
    """What became of a page after its scripts ran."""

    dom: str
    console: tuple[str, ...]
    """Messages on the browser's console: errors, and what the page itself logs."""


def open_page(page: Path, state: str = "", *, then: str = "") -> Seen:
    """Open a page with `#state`, run the script `then` in it, and return what it shows."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / page.name
        script = f"<script>{then}</script></body>" if then else "</body>"
        text = page.read_text(encoding="utf-8")
        assert text.count("</body>") == 1
        copy.write_text(text.replace("</body>", script), encoding="utf-8")
        assert PROGRAM is not None
        done = subprocess.run(
            [
                *(PROGRAM, *FLAGS, f"--user-data-dir={folder}/profile", "--dump-dom"),
                copy.as_uri() + (f"#{state}" if state else ""),
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
    return Seen(done.stdout, tuple(re.findall(r":CONSOLE[^\]]*\] (.*)", done.stderr)))
