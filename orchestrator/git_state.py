"""Which version of the code measures: known to the driver alone.

Ray ships working directories without `.git`, so the commit is taken down at launch and travels
with every assignment.
"""

import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
_TIMEOUT = 10.0


def git_state(root: Path = ROOT) -> dict[str, Any]:
    """Return `git_commit` and `git_dirty` of the checkout; both None outside of one."""
    if not (root / ".git").exists():  # installed as a package: a parent's repository is not ours
        return {"git_commit": None, "git_dirty": None}
    commit = _git(root, "rev-parse", "HEAD")
    changes = _git(root, "status", "--porcelain", "--untracked-files=no")
    return {"git_commit": commit, "git_dirty": None if changes is None else bool(changes)}


def _git(root: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
