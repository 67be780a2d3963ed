"""Which code a process runs: where it lies, its EVAL_VERSION, a hash of it, and what it uses.

A driver accepts only evaluators that run the code it has itself: a run id stands for a result of
one version, whichever checkout a worker happens to find first.
"""

import functools
import hashlib
import importlib.metadata
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from workers.contract.spec import EVAL_VERSION

PACKAGE = Path(__file__).resolve().parents[1]
DECIDING = ("torch", "transformers", "tokenizers")
"""Packages whose version a result depends on."""


@dataclass(frozen=True)
class Installation:
    """The code that evaluates in a process."""

    folder: str
    """Where the package `workers` lies."""
    eval_version: int
    sources: str
    """Sha256 over the package's Python files, shortened."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Python (major and minor) and `DECIDING`, without the build: `2.13.0`, not `2.13.0+cpu`."""

    def difference(self, other: "Installation") -> str | None:
        """Return how the other one differs, as `here …, there …`; None if results are the same."""
        if self.eval_version != other.eval_version:
            what, ours, theirs = "EVAL_VERSION", str(self.eval_version), str(other.eval_version)
        elif self.sources != other.sources:
            what, ours, theirs = "sources", self.sources, other.sources
        else:
            for name, version in self.versions.items():
                if other.versions.get(name) != version:
                    return (
                        f"{name} {version} here, {name} {other.versions.get(name, 'missing')} there"
                    )
            return None
        return f"{what} {ours} in {self.folder} here, {what} {theirs} in {other.folder} there"


@functools.cache
def installation() -> Installation:
    """Return what this process runs."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(f"{path.relative_to(PACKAGE).as_posix()}\0".encode())
        digest.update(path.read_bytes())
    versions = {"python": ".".join(platform.python_version_tuple()[:2])}
    for name in DECIDING:
        try:
            versions[name] = importlib.metadata.version(name).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:
            continue
    return Installation(str(PACKAGE), EVAL_VERSION, digest.hexdigest()[:12], versions)
