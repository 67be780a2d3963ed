"""The texts of an evaluation: every corpus as a list of documents.

`wikitext-103` and `pydoc` are one stream each, their pieces joined with a blank line; `pg19` has
one document per book, `stdlib` one per module, `file:PATH` one per string. A document is what the
cache is reset between.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath

from workers.contract.errors import CorpusError
from workers.contract.spec import FILE_PREFIX, EvalSpec, split_file_dataset
from workers.texts import heldout
from workers.texts.hub_corpora import read_hub_texts
from workers.texts.text_files import read_file_texts

_BLANK_LINE = "\n\n"


@dataclass(frozen=True)
class Document:
    """One text; the cache starts empty at its first token."""

    name: str
    text: str


def read_documents(spec: EvalSpec) -> list[Document]:
    """Return the documents of `spec.dataset` in order, at most `spec.max_documents` of them.

    Not for `random`, which has token ids and no text. Raises `CorpusError` for a text that cannot
    be read, an empty document, or no document at all.
    """
    if spec.dataset == "random":
        raise CorpusError("random: a data set of seeded token ids has no text to read")
    documents = list(islice(_documents(spec), spec.max_documents))
    if not documents:
        raise CorpusError(f"{spec.dataset}: holds no document; there is nothing to evaluate")
    for number, document in enumerate(documents, 1):
        _check(document, number, spec.dataset)
    return documents


def _documents(spec: EvalSpec) -> Iterator[Document]:
    if spec.dataset.startswith(FILE_PREFIX):
        return _file_documents(spec)
    return _NAMED[spec.dataset](spec)


def _wikitext(spec: EvalSpec) -> Iterator[Document]:
    # The rows are lines, half of them empty; each carries a space and a line break of its own.
    rows = read_hub_texts(spec.dataset, split=spec.split, revision=spec.dataset_revision)
    stream = _BLANK_LINE.join(row.strip() for row in rows if row.strip())
    yield Document(f"{spec.dataset}/{spec.split}", stream)


def _pg19(spec: EvalSpec) -> Iterator[Document]:
    texts = read_hub_texts(spec.dataset, split=spec.split, revision=spec.dataset_revision)
    for number, text in enumerate(texts, 1):
        yield Document(f"{spec.dataset}/{spec.split}:{number}", text)


def _pydoc(spec: EvalSpec) -> Iterator[Document]:
    topics = heldout.pydoc_topics(held_out=True)
    yield Document("pydoc", _BLANK_LINE.join(text.strip("\n") for text in topics.values()))


def _stdlib(spec: EvalSpec) -> Iterator[Document]:
    for name, text in heldout.stdlib_modules(held_out=True).items():
        yield Document(name, text)


def _file_documents(spec: EvalSpec) -> Iterator[Document]:
    name = PurePosixPath(split_file_dataset(spec.dataset)[0]).name
    for number, text in enumerate(read_file_texts(spec.dataset), 1):
        yield Document(f"{name}:{number}", text)


_NAMED = {"wikitext-103": _wikitext, "pg19": _pg19, "pydoc": _pydoc, "stdlib": _stdlib}


def _check(document: Document, number: int, dataset: str) -> None:
    where = f"{dataset}: document {number} ({document.name})"
    if not document.text.strip():
        raise CorpusError(f"{where} is empty; remove it, or lower max_documents")
    try:
        document.text.encode("utf-8")
    except UnicodeEncodeError as error:  # JSON can spell half a surrogate pair
        raise CorpusError(
            f"{where} holds half a surrogate pair at character {error.start}; "
            "no UTF-8 text contains one"
        ) from error
