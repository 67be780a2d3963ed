"""The tokenizer of a model, whole or refused.

transformers builds an empty tokenizer from a folder that lacks its files, and says nothing.
"""

from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from workers.contract.errors import ModelRefusedError
from workers.models.causes import fault_of, sentencepiece_of
from workers.models.checkpoint import explained
from workers.models.sources import Source

_SPLIT = "The cat and the dog, again"


def read_tokenizer(source: Source) -> Any:
    """Return the tokenizer. Raises `ModelRefusedError`: files missing, or nothing in them."""
    with explained(source, "tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(**source.arguments)
    missing: list[str] = []
    present: set[str] = set()
    if source.gguf is None and source.folder is not None:
        # The vocabulary files that its class reads and the folder lacks.
        names = dict(tokenizer.vocab_files_names)
        whole = names.pop("tokenizer_file", "tokenizer.json")
        present = {path.name for path in source.folder.iterdir()}
        is_whole = whole in present or present & {"tokenizer.json", "tekken.json"}
        if not is_whole and not any(name.endswith(".tiktoken") for name in present):
            missing = [name for name in names.values() if name not in present]
            missing = missing or ([] if names else [whole])
    if missing:
        there = ", ".join(sorted(name for name in present if name.endswith(".model")))
        instead = (
            f". It has {there}, of which this class makes nothing here: save the tokenizer once "
            "with the release that wrote it, or name a class that reads it in "
            'tokenizer_config.json ("tokenizer_class": "LlamaTokenizer" reads tokenizer.model)'
        )
        raise ModelRefusedError(
            f"the tokenizer of {source.model!r} is incomplete: its folder lacks "
            f"{' and '.join(missing)}; without them {type(tokenizer).__name__} knows no words"
            f"{instead if there else ''}"
        )
    if source.gguf is None and source.folder is not None:
        _compare_with_sentencepiece(tokenizer, source.folder / "tokenizer.model", source.model)
    words = set(tokenizer.get_vocab().values()) - special_ids(tokenizer)
    if not words:
        fault = fault_of(source) or "its files (tokenizer.json, or tokenizer.model) hold no words"
        raise ModelRefusedError(
            f"the tokenizer of {source.model!r} has an empty vocabulary: nothing but "
            f"{len(tokenizer)} special tokens; {fault}"
        )
    return tokenizer


def _compare_with_sentencepiece(tokenizer: Any, file: Path, model: str) -> None:
    """Refuse a tokenizer that splits otherwise than the SentencePiece model it is made of.

    A class that does not know SentencePiece's rules reads its words and leaves out its rules.
    """
    if (file.parent / "tokenizer.json").exists() or not file.exists():
        return
    pieces = sentencepiece_of(file)
    if pieces is None or not pieces.get_piece_size():
        return
    ids = tokenizer(_SPLIT, add_special_tokens=False)["input_ids"]
    found = tokenizer.convert_ids_to_tokens([i for i in ids if i != tokenizer.unk_token_id])
    known = [number for number in pieces.encode(_SPLIT) if number != pieces.unk_id()]
    wanted = [pieces.id_to_piece(number) for number in known]
    if found != wanted:
        raise ModelRefusedError(
            f"the tokenizer of {model!r} does not split a text as its tokenizer.model does "
            f"({' '.join(found[:6])} … instead of {' '.join(wanted[:6])} …): name its class in "
            'tokenizer_config.json, for example "tokenizer_class": "LlamaTokenizer"'
        )


def special_ids(tokenizer: Any) -> set[int]:
    """Return the ids of control tokens, the unknown token among them."""
    added = tokenizer.added_tokens_decoder
    return {*tokenizer.all_special_ids, *(number for number in added if added[number].special)}
