"""The tokenizer of a model, whole or refused.

transformers builds an empty tokenizer from a folder that lacks its files, and says nothing.
"""

from typing import Any

from transformers import AutoTokenizer

from workers.contract.errors import ModelRefusedError
from workers.models.checkpoint import explained
from workers.models.sources import Source


def read_tokenizer(source: Source) -> Any:
    """Return the tokenizer. Raises `ModelRefusedError`: files missing, or nothing in them."""
    with explained(source, "tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(**source.arguments)
    missing: list[str] = []
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
        raise ModelRefusedError(
            f"the tokenizer of {source.model!r} is incomplete: its folder lacks "
            f"{' and '.join(missing)}; without them {type(tokenizer).__name__} knows no words"
        )
    words = set(tokenizer.get_vocab().values()) - special_ids(tokenizer)
    if not words:
        raise ModelRefusedError(
            f"the tokenizer of {source.model!r} has an empty vocabulary: nothing but "
            f"{len(tokenizer)} special tokens; its files (tokenizer.json, or tokenizer.model) are "
            "missing or empty"
        )
    return tokenizer


def special_ids(tokenizer: Any) -> set[int]:
    """Return the ids of control tokens, the unknown token among them."""
    added = tokenizer.added_tokens_decoder
    return {*tokenizer.all_special_ids, *(number for number in added if added[number].special)}
