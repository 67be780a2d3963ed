"""What can be said about the user's own texts before anything runs: `sweep plan` says it.

A text that cannot be read, or that has an empty row, fails every evaluation of it, so it is read
here as an evaluation would read it; without a model, so that the answer takes no longer than the
text.
"""

import contextlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator.words import counted
from workers.contract.errors import CorpusError
from workers.contract.file_datasets import FILE_PREFIX, MANY_FILES, split_file_dataset
from workers.contract.spec import EvalSpec, is_local_model
from workers.models.presets import DEMO_FOLDER
from workers.texts import files
from workers.texts.contents import is_web_page
from workers.texts.corpora import Document, checked_documents

LARGEST_READ = 1_000_000_000
"""Bytes of text that a plan reads; of more it says that it did not."""
_SHORT = 64
"""Characters; a longer document has two tokens in every tokenizer."""

_JSON_OBJECT = re.compile(r"\s*\{\s*\"\w+\"\s*:")

_Key = tuple[Any, ...]


def text_warnings(specs: Iterable[EvalSpec]) -> list[str]:
    """Return what is wrong with the files that evaluations read, one line for each text."""
    groups: dict[_Key, list[EvalSpec]] = {}
    for spec in specs:
        if spec.dataset.startswith(FILE_PREFIX):
            key = (spec.model, spec.dataset, spec.empty_documents, spec.max_documents)
            groups.setdefault(key, []).append(spec)
    found = (_warning(members[0], len(members)) for members in groups.values())
    return list(dict.fromkeys(warning for warning in found if warning))


@dataclass
class _Counts:
    documents: int = 0
    empty: int = 0
    short: int = 0
    first: str = ""
    """The first that has nothing to score."""
    markup: str = ""
    """The first that begins as a web page or a JSON object does."""

    def add(self, document: Document, is_short: bool) -> None:
        self.documents += 1
        self.empty += document.is_empty
        self.short += is_short and not document.is_empty
        if (document.is_empty or is_short) and not self.first:
            self.first = document.name
        begin = document.text.lstrip()[:_SHORT].encode("utf-8", "surrogatepass")
        if not self.markup and (is_web_page(begin) or _JSON_OBJECT.match(document.text)):
            self.markup = document.name


def _warning(spec: EvalSpec, n_evaluations: int) -> str | None:
    fails = (
        f"all {n_evaluations} evaluations of it will fail"
        if n_evaluations > 1
        else "its evaluation will fail"
    )
    path, file_format, _ = split_file_dataset(spec.dataset)
    try:
        members = files.members(path) if file_format == MANY_FILES else [path]
        if sum(files.size_and_time(file)[0] for file in members) > LARGEST_READ:
            return f"{spec.dataset}: larger than {LARGEST_READ / 1e9:g} GB, so it was not read"
        counts = _count(spec)
    except CorpusError as error:
        return f"{error}; {fails}"
    except OSError as error:
        return f"{spec.dataset}: cannot be read: {error.strerror or error}; {fails}"
    if not counts.documents:
        return f"{spec.dataset}: holds no document; {fails}"
    if not counts.empty + counts.short:
        if file_format in ("txt", "md", MANY_FILES) and counts.markup:
            return (
                f"{spec.dataset}: {counts.markup} begins as a web page, XML or JSON does, and is "
                "evaluated with its markup: is it the text that was meant?"
            )
        return None
    kinds = [f"{counts.empty} empty or null"] * bool(counts.empty)
    kinds += [f"{counts.short} of fewer than two tokens"] * bool(counts.short)
    if counts.documents == 1:
        holds = "is empty" if counts.empty else "holds fewer than two tokens"
        return f"{spec.dataset}: its only document {holds}; {fails}"
    what = (
        f"{spec.dataset}: of {counted(counts.documents, 'document')} {' and '.join(kinds)} "
        f"(the first: {counts.first})"
    )
    if counts.empty + counts.short == counts.documents:
        return f"{what}; {fails}"
    if spec.empty_documents == "skip":
        return f"{what}; left out, as empty_documents: skip asks"
    return f"{what}; {fails}, unless with --set empty_documents=skip they are left out"


def _count(spec: EvalSpec) -> _Counts:
    """Count the documents that an evaluation would read."""
    tokenizer: Any = None  # what cannot be said from here is not called short
    file = (DEMO_FOLDER if spec.model == "demo" else Path(spec.model)) / "tokenizer.json"
    if (spec.model == "demo" or is_local_model(spec.model)) and file.is_file():
        from tokenizers import Tokenizer  # only where a plan has a text of the user's own

        # The library has no class of errors of its own; loading the model will say it.
        with contextlib.suppress(Exception):
            tokenizer = Tokenizer.from_file(str(file))
    counts, kept = _Counts(), 0
    for document in checked_documents(replace(spec, empty_documents="skip")):
        may_be_short = tokenizer is not None and len(document.text) <= _SHORT
        is_short = may_be_short and len(tokenizer.encode(document.text).ids) < 2
        counts.add(document, is_short)
        is_kept = not (document.is_empty or is_short) or spec.empty_documents == "refuse"
        kept += is_kept
        if kept == spec.max_documents:
            break
    return counts
