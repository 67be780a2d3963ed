"""The training text: what CPython carries, less everything that overlaps a held-out document.

The hash rule of ``workers.texts.heldout`` decides by name. Names are not enough: copied tests,
tables and licence texts put long passages of a held-out document into files of other names. Every
training file that shares a span of ``SHARED_SPAN`` token ids with a held-out document is therefore
dropped, across both corpora and, on request, across the held-out modules of other Python versions,
in which a module may have moved to another path.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from workers.texts.heldout import is_test, pydoc_topics, stdlib_modules

SHARED_SPAN = 64
"""Two texts overlap if they share this many token ids in a row."""

Span = bytes
Tokens = np.ndarray[Any, np.dtype[np.uint16]]
"""Token ids of one text, without BOS: shape (T,), uint16."""


def training_texts() -> dict[str, str]:
    """Every file on the training side of the hash rule: ``pydoc/…`` or ``stdlib/…`` -> text."""
    return _texts(held_out=False, directory=None)


def held_out_texts(other_libraries: Iterable[Path] = ()) -> dict[str, str]:
    """Every evaluation document of this Python, and those of other standard libraries."""
    texts = _texts(held_out=True, directory=None)
    for directory in other_libraries:
        others = _texts(held_out=True, directory=directory)
        texts |= {f"{directory.name}/{name}": text for name, text in others.items()}
    return texts


def _texts(*, held_out: bool, directory: Path | None) -> dict[str, str]:
    topics = pydoc_topics(held_out=held_out, directory=directory)
    modules = stdlib_modules(held_out=held_out, directory=directory)
    return {f"pydoc/{name}": text for name, text in topics.items()} | {
        f"stdlib/{name}": text for name, text in modules.items()
    }


def sampling_weight(name: str) -> float:
    """How often a token of this file is drawn: the reference is short, the tests are many."""
    corpus, _, path = name.partition("/")
    if corpus == "pydoc":
        return 8.0
    return 1.0 if is_test(path) else 2.0


def spans(tokens: Tokens) -> Iterator[Span]:
    """Every run of ``SHARED_SPAN`` token ids, as bytes. ``tokens``: shape (T,), uint16."""
    return _pieces(tokens.tobytes(), SHARED_SPAN * tokens.itemsize, step=tokens.itemsize)


def overlapping(
    candidates: Mapping[str, Tokens],
    held_out: Iterable[Tokens],
) -> list[str]:
    """The names of the candidates that share a span of ``SHARED_SPAN`` tokens with a held-out."""
    forbidden: set[Span] = set()
    for tokens in held_out:
        forbidden.update(spans(tokens))
    return [name for name, tokens in candidates.items() if not forbidden.isdisjoint(spans(tokens))]


def possibly_overlapping(texts: Mapping[str, str], held_out: Iterable[str]) -> dict[str, str]:
    """The texts that share as many bytes in a row with a held-out one as shared tokens would.

    Known without tokenising: a token holds a byte or more, and a run of ``SHARED_SPAN`` bytes,
    wherever it lies, holds a whole block of half of that which starts at a multiple of its size.
    """
    block = SHARED_SPAN // 2
    known: set[bytes] = set()
    for text in held_out:
        known.update(_pieces(text.encode("utf-8"), block, step=1))
    return {
        name: text
        for name, text in texts.items()
        if not known.isdisjoint(_pieces(text.encode("utf-8"), block, step=block))
    }


def _pieces(data: bytes, size: int, step: int) -> Iterator[bytes]:
    for start in range(0, len(data) - size + 1, step):
        yield data[start : start + size]


def text_hash(text: str) -> str:
    """The sha256 of a text's UTF-8 bytes, as the list of training files records it."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
