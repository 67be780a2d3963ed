"""From documents to token ids: whole documents, tokenised in one go."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from workers.contract.errors import CorpusError
from workers.contract.spec import EvalSpec
from workers.models.loading import LoadedModel
from workers.texts.corpora import Document, checked_documents, no_document, refuse_short
from workers.texts.encoding import encode, refuse_unknown


@dataclass(frozen=True)
class TokenisedDocument:
    """One stream of token ids, int64 [T], BOS included if the tokenizer adds one."""

    name: str
    ids: Tensor
    n_bytes: int | None
    """UTF-8 bytes from the end of the first token to the end of the last; None if unknown."""
    starts_with_bos: bool
    n_special: int = 0
    """Control tokens that the text itself spells."""
    n_unknown: int | None = None
    """Unknown tokens; None where there is no such thing."""
    skipped: int = 0
    """Empty documents that were left out between this one and its neighbour."""


def tokenised_documents(spec: EvalSpec, loaded: LoadedModel) -> list[TokenisedDocument]:
    """Return the documents of a spec as token ids.

    Raises `CorpusError` if there is nothing to score or the tokenizer does not fit the model.
    """
    if spec.dataset == "random":
        generator = np.random.default_rng(spec.seed)
        assert spec.max_tokens is not None, "EvalSpec requires it of random text"
        shape = (spec.max_documents or 1, spec.max_tokens)
        ids = torch.from_numpy(generator.integers(0, loaded.vocab_size, size=shape))
        documents = [
            TokenisedDocument(f"random-{i}", row, None, False) for i, row in enumerate(ids)
        ]
    else:
        documents = _text_documents(spec, loaded)
    if not any(len(document.ids) > 1 for document in documents):
        raise CorpusError(f"{spec.dataset}: no document has two tokens, so nothing can be scored")
    largest = max(int(document.ids.max()) for document in documents if len(document.ids))
    if largest >= loaded.vocab_size:
        raise CorpusError(
            f"the tokenizer gives id {largest}, but the model has {loaded.vocab_size} embeddings: "
            "tokenizer and model do not belong together"
        )
    refuse_unknown(unknown_share(documents), spec)
    return documents


def _text_documents(spec: EvalSpec, loaded: LoadedModel) -> list[TokenisedDocument]:
    documents: list[TokenisedDocument] = []
    skipped = 0
    for document in checked_documents(spec):
        tokenised = None if document.is_empty else _tokenise(document, loaded, spec)
        if tokenised is not None and len(tokenised.ids) > 1:
            documents.append(replace(tokenised, skipped=skipped))
            skipped = 0
            if len(documents) == spec.max_documents:
                break  # what comes after is not looked at: it need not even be readable
        elif spec.empty_documents == "refuse":
            raise refuse_short(spec, document.name)
        else:
            skipped += 1
    if not documents:
        raise no_document(spec)
    return [*documents[:-1], replace(documents[-1], skipped=documents[-1].skipped + skipped)]


def _tokenise(document: Document, loaded: LoadedModel, spec: EvalSpec) -> TokenisedDocument:
    if loaded.tokenizer is None:
        raise CorpusError(f"{spec.model} has no tokenizer: use `dataset: random`")
    encoded = encode(document.text, loaded.tokenizer, spec)
    ids, offsets, n_bytes = encoded.ids, encoded.offsets, None
    if offsets is not None and ids:
        # A special token at the end spans nothing, hence the maximum.
        last = max(end for _, end in offsets[: len(ids)])
        n_bytes = len(document.text[offsets[0][1] : last].encode())
    return TokenisedDocument(
        name=document.name,
        ids=torch.tensor(ids, dtype=torch.int64),
        n_bytes=n_bytes,
        starts_with_bos=bool(ids) and ids[0] == loaded.tokenizer.bos_token_id,
        n_special=encoded.n_special,
        n_unknown=encoded.n_unknown,
    )


def unknown_share(documents: Sequence[TokenisedDocument]) -> float | None:
    """Return the share of tokens that are unknown; None if the tokenizer knows everything."""
    counts = [document.n_unknown for document in documents]
    known = [count for count in counts if count is not None]
    return sum(known) / sum(len(document.ids) for document in documents) if known else None


def first_token_kind(documents: list[TokenisedDocument]) -> Any:
    """Return what sink 0 is: `bos`, or `text` if any document starts without one."""
    return "bos" if all(document.starts_with_bos for document in documents) else "text"
