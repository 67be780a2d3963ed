"""How long the documents of an evaluation are, and what is wrong with its text, without its model.

The tokenizer is enough, and of a long document a sample: four passages tell how many tokens its
characters are to about a percent. For the shipped model neither torch nor transformers is loaded:
a plan of the quickstart is an answer, not a wait.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

from tokenizers import Tokenizer

from workers.contract.cost import Text
from workers.contract.errors import CorpusError, ModelRefusedError
from workers.contract.spec import RANDOM_MODEL_PREFIX, EvalSpec
from workers.models.presets import DEMO_FOLDER, preset_config
from workers.models.sources import source_of
from workers.texts.corpora import Document, read_documents

PASSAGES = 4
PASSAGE = 50_000
"""Characters of each passage of a long document that are tokenised."""
MOST_CHARACTERS = 20
"""Per token, at most, in a text whose tokens are limited: no more of it is tokenised."""


class Lengths:
    """Reads texts and tokenizers once each."""

    def __init__(self) -> None:
        self._documents: dict[tuple[Any, ...], Sequence[Document]] = {}
        self._counters: dict[tuple[Any, ...], Callable[[str], int]] = {}
        self._texts: dict[tuple[Any, ...], Text] = {}
        self._positions: dict[tuple[Any, ...], int | None] = {}

    def text(self, spec: EvalSpec) -> Text:
        """Return the length of a spec's text.

        Raises `CorpusError` or `ModelLoadError` for a text or a tokenizer that cannot be had.
        """
        document_key = (spec.dataset, spec.dataset_revision, spec.split, spec.max_documents)
        key = (spec.model, spec.model_revision, *document_key, spec.max_tokens)
        if key not in self._texts:
            if document_key not in self._documents:
                self._documents[document_key] = read_documents(spec)
            documents = self._documents[document_key]
            counted = [self._count(one.text, spec) for one in documents]
            lengths = [min(n, spec.max_tokens or n) for n, _ in counted]
            exact = all(is_exact for _, is_exact in counted)
            if max(lengths) < 2:
                raise CorpusError(f"{spec.dataset}: no document has two tokens to score")
            self._texts[key] = Text(len(lengths), sum(lengths), exact, is_sampled=not exact)
        return self._texts[key]

    def positions(self, spec: EvalSpec) -> int | None:
        """Return how many positions a model was trained on; None if its configuration is silent."""
        key = (spec.model, spec.model_revision)
        if key not in self._positions:
            self._positions[key] = _positions(spec)
        return self._positions[key]

    def _count(self, text: str, spec: EvalSpec) -> tuple[int, bool]:
        """Return how many tokens a text has, and whether they were counted or estimated."""
        if spec.max_tokens is not None and len(text) > MOST_CHARACTERS * spec.max_tokens:
            head = self._tokens(text[: MOST_CHARACTERS * spec.max_tokens], spec)
            if head >= spec.max_tokens:
                return spec.max_tokens, True
        if len(text) <= PASSAGES * PASSAGE:
            return self._tokens(text, spec), True
        step = (len(text) - PASSAGE) // (PASSAGES - 1)
        passages = [text[at * step : at * step + PASSAGE] for at in range(PASSAGES)]
        tokens = sum(self._tokens(passage, spec) for passage in passages)
        return round(tokens * len(text) / (PASSAGES * PASSAGE)), False

    def _tokens(self, text: str, spec: EvalSpec) -> int:
        key = (spec.model, spec.model_revision, spec.trust_remote_code)
        if key not in self._counters:
            if spec.model.startswith(RANDOM_MODEL_PREFIX):
                raise CorpusError(f"{spec.model} has no tokenizer: use `dataset: random`")
            if spec.model == "demo":
                shipped = Tokenizer.from_file(str(DEMO_FOLDER / "tokenizer.json"))
                self._counters[key] = lambda text: len(shipped.encode(text).ids)
            else:
                from workers.models.causes import fault_of
                from workers.models.tokenizer import read_tokenizer

                source = source_of(spec)
                if fault := fault_of(source, tokenizer=False):
                    raise ModelRefusedError(f"cannot load the model of {spec.model!r}: {fault}")
                tokenizer = read_tokenizer(source)
                self._counters[key] = lambda text: len(tokenizer(text, verbose=False)["input_ids"])
        return self._counters[key](text)


def _positions(spec: EvalSpec) -> int | None:
    if spec.model.startswith(RANDOM_MODEL_PREFIX):
        values = preset_config(spec.model.removeprefix(RANDOM_MODEL_PREFIX))
    elif spec.model == "demo":
        values = json.loads((DEMO_FOLDER / "config.json").read_text(encoding="utf-8"))
    else:
        from transformers import AutoConfig

        from workers.models.loading import trained_positions

        config = AutoConfig.from_pretrained(**source_of(spec).arguments)
        return trained_positions(config.get_text_config())
    return values.get("max_position_embeddings")
