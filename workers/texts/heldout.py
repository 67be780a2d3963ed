"""Which Python text is held out: the one rule that training and evaluation share.

The demo model is trained on text that every CPython carries, the source of the standard library
and the language reference behind ``help()``. A twelfth of it is never trained on, and that twelfth
is what the corpora ``pydoc`` and ``stdlib`` evaluate. The rule is a hash of the *name*, not of the
content and not a random draw, so that it does not depend on the Python version that runs it: a
module that one version trained on is never evaluated by another.

Names are topic names (``"booleans"``) and POSIX paths below the standard library
(``"json/__init__.py"``). Left out everywhere: installed packages, caches, files written by the
build of the interpreter, the generated tables in ``encodings``, and ``pydoc_data``, whose
``topics.py`` contains the held-out topics. Tests may be trained on but are never evaluated,
because many distributions do not ship them.

Standard library only.
"""

import hashlib
import os
import sysconfig
from importlib import import_module
from pathlib import Path, PurePosixPath
from runpy import run_path

HELD_OUT_MODULUS = 12
"""One name in this many is held out."""

MIN_DOCUMENT_CHARACTERS = 4_000
"""A held-out module shorter than this is no evaluation document: too few tokens to evict any."""

EXCLUDED_DIRECTORIES = frozenset(
    {"site-packages", "dist-packages", "lib-dynload", "__pycache__", "pydoc_data", "encodings"}
)
TEST_DIRECTORIES = frozenset({"test", "tests", "idle_test"})
BUILD_FILE_PREFIX = "_sysconfigdata"
BUILD_DIRECTORY_PREFIX = "config-"


def is_held_out(name: str) -> bool:
    """Whether the topic or module of this name is kept from training."""
    return int(hashlib.sha256(name.encode("utf-8")).hexdigest(), 16) % HELD_OUT_MODULUS == 0


def is_test(name: str) -> bool:
    """Whether the module at this POSIX path lies in a directory of tests."""
    return not TEST_DIRECTORIES.isdisjoint(PurePosixPath(name).parts[:-1])


def is_excluded(name: str) -> bool:
    """Whether the file at this POSIX path is no module of the standard library proper."""
    *directories, file = PurePosixPath(name).parts
    return file.startswith(BUILD_FILE_PREFIX) or any(map(_is_excluded_directory, directories))


def _is_excluded_directory(directory: str) -> bool:
    return directory in EXCLUDED_DIRECTORIES or directory.startswith(BUILD_DIRECTORY_PREFIX)


def pydoc_topics(*, held_out: bool, directory: Path | None = None) -> dict[str, str]:
    """The topics of the language reference on one side of the rule: name -> text, sorted.

    ``directory``: the standard library to read, by default that of the running interpreter.
    """
    topics: dict[str, str] = (
        run_path(str(directory / "pydoc_data" / "topics.py"))["topics"]
        if directory
        else import_module("pydoc_data.topics").topics
    )
    return {name: topics[name] for name in sorted(topics) if is_held_out(name) == held_out}


def stdlib_modules(*, held_out: bool, directory: Path | None = None) -> dict[str, str]:
    """The modules of a standard library on one side of the rule: POSIX path -> source, sorted.

    Held-out modules are evaluation documents: no tests, and none shorter than
    ``MIN_DOCUMENT_CHARACTERS``. The others are training text, tests included. Files that are not
    UTF-8 are left out of both.

    ``directory``: the standard library to read, by default that of the running interpreter.
    """
    root = directory or Path(sysconfig.get_path("stdlib"))
    names: list[str] = []
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = [name for name in subfolders if not _is_excluded_directory(name)]
        inside = Path(folder).relative_to(root)
        names += [(inside / file).as_posix() for file in files if file.endswith(".py")]
    modules: dict[str, str] = {}
    for name in sorted(names):
        if is_excluded(name) or is_held_out(name) != held_out or (held_out and is_test(name)):
            continue
        try:
            text = (root / name).read_bytes().decode("utf-8")
        except UnicodeDecodeError:
            continue
        if not held_out or len(text) >= MIN_DOCUMENT_CHARACTERS:
            modules[name] = text
    return modules
