"""The texts of an evaluation: every corpus as a list of documents.

`wikitext-103` and `pydoc` are one stream each, their pieces joined with a blank line; `pg19` has
one document per book, `stdlib` one per module, `file:PATH` one per string or file. A document is
what the cache is reset between.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from workers.contract.errors import CorpusError
from workers.contract.file_datasets import FILE_PREFIX
from workers.contract.spec import EvalSpec
from workers.texts import heldout
from workers.texts.hub_corpora import read_hub_texts
from workers.texts.text_files import read_file_texts

_BLANK_LINE = "\n\n"


@dataclass(frozen=True)
class Document:
    """One text; the cache starts empty at its first token."""

    name: str
    text: str
    """Empty where a row, entry or cell is null."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it to evaluate."""
        return not self.text.strip()


def read_documents(spec: EvalSpec) -> list[Document]:
    """Return the documents of `spec.dataset` in order, at most `spec.max_documents` of them.

    Not for `random`, which has token ids and no text. Raises `CorpusError` for a text that cannot
    be read, an empty document (unless they are skipped), or no document at all.
    """
    kept = (document for document in checked_documents(spec) if not document.is_empty)
    documents = list(islice(kept, spec.max_documents))
    if not documents:
        raise no_document(spec)
    return documents


def checked_documents(spec: EvalSpec) -> Iterator[Document]:
    """Yield every document in order; empty ones only where the spec skips them.

    Reads no further than is asked for. Raises `CorpusError`.
    """
    if spec.dataset == "random":
        raise CorpusError("random: a data set of seeded token ids has no text to read")
    for number, document in enumerate(every_document(spec), 1):
        where = f"{spec.dataset}: document {number} ({document.name})"
        if document.is_empty and spec.empty_documents == "refuse":
            raise CorpusError(f"{where} is empty or null; {_REMEDY}")
        try:
            document.text.encode("utf-8")
        except UnicodeEncodeError as error:  # JSON can spell half a surrogate pair
            raise CorpusError(
                f"{where} holds half a surrogate pair at character {error.start}; "
                "no UTF-8 text contains one"
            ) from error
        yield document


def refuse_short(spec: EvalSpec, name: str) -> CorpusError:
    """Return the error for a document of fewer than two tokens."""
    return CorpusError(f"{spec.dataset}: document {name} has no two tokens to score; {_REMEDY}")


def no_document(spec: EvalSpec) -> CorpusError:
    """Return the error for a text without any document that can be evaluated."""
    what = "document" if spec.empty_documents == "refuse" else "document that is not empty"
    return CorpusError(f"{spec.dataset}: holds no {what}; there is nothing to evaluate")


def every_document(spec: EvalSpec) -> Iterator[Document]:
    """Yield the documents as they are, the empty ones too. Not for `random`."""
    if spec.dataset.startswith(FILE_PREFIX):
        for name, number, entry in read_file_texts(spec.dataset):
            yield Document(f"{name}:{number}", entry or "")
    elif spec.dataset == "pydoc":
        topics = heldout.pydoc_topics(held_out=True)
        yield Document("pydoc", _BLANK_LINE.join(text.strip("\n") for text in topics.values()))
    elif spec.dataset == "stdlib":
        for name, text in heldout.stdlib_modules(held_out=True).items():
            yield Document(name, text)
    else:
        texts = read_hub_texts(spec.dataset, split=spec.split, revision=spec.dataset_revision)
        where = f"{spec.dataset}/{spec.split}"
        if spec.dataset == "wikitext-103":
            # Its rows are lines, half of them empty, each with a space and a line break of its own.
            yield Document(where, _BLANK_LINE.join(row.strip() for row in texts if row.strip()))
        else:
            for number, text in enumerate(texts, 1):
                yield Document(f"{where}:{number}", text)


_REMEDY = "remove it, or leave such documents out with empty_documents: skip"
