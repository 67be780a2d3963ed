"""One text to token ids: what a tokenizer puts before it, and what it reads into it.

Two habits of tokenizers change what is measured. Most put a BOS before a text and some do not,
which is what sink 0 then is. And all of them turn characters such as `</s>` inside a text into one
control token, as the scripts of the paper do. Both are choices (`bos`, `special_tokens`), and how
many such tokens, and how many unknown ones, a text holds is counted.
"""

from dataclasses import dataclass
from typing import Any

from workers.contract.errors import CorpusError
from workers.contract.spec import EvalSpec
from workers.models.tokenizer import special_ids

LARGEST_UNKNOWN_SHARE = 0.2
"""Above this share of unknown tokens a text is in no language that the tokenizer knows."""
_PROBE = "a"
"""A text without control tokens: what surrounds its ids is the tokenizer's own."""
Offsets = list[tuple[int, int]]


@dataclass(frozen=True)
class Encoded:
    """The ids of one text, at most `max_tokens`, and where each comes from."""

    ids: list[int]
    offsets: Offsets | None
    """Characters of each token; None if the tokenizer does not say."""
    n_special: int
    """Control tokens that the text itself spells."""
    n_unknown: int | None
    """Tokens that stand for characters the tokenizer does not know; None if it knows all."""


def encode(text: str, tokenizer: Any, spec: EvalSpec) -> Encoded:
    """Tokenise a whole text in one go, as the spec asks.

    Raises `CorpusError` if a BOS is asked for and the tokenizer has none.
    """
    encoded = tokenizer(
        text,
        return_offsets_mapping=bool(tokenizer.is_fast),
        split_special_tokens=spec.special_tokens == "text",
        verbose=False,
    )
    ids, offsets = list(encoded["input_ids"]), encoded.get("offset_mapping")
    adds_bos = tokenizer(_PROBE)["input_ids"][:1] == [tokenizer.bos_token_id]
    if spec.bos == "always" and not adds_bos:
        if tokenizer.bos_token_id is None:
            raise CorpusError(
                f"bos: always, but the tokenizer of {spec.model} has no BOS token; use `bos: model`"
            )
        ids = [tokenizer.bos_token_id, *ids]
        offsets = offsets and [(0, 0), *offsets]
    elif spec.bos == "never" and adds_bos:
        ids, offsets = ids[1:], offsets and offsets[1:]
    ids, offsets = ids[: spec.max_tokens], offsets and offsets[: spec.max_tokens]
    special, unknown = _counts(text, tokenizer, ids, offsets)
    has_unknown = tokenizer.unk_token_id is not None
    return Encoded(ids, offsets, special, unknown if has_unknown else None)


def _counts(text: str, tokenizer: Any, ids: list[int], offsets: Offsets | None) -> tuple[int, int]:
    """Return how many tokens the text spells that are special, and how many are unknown."""
    control, unknown = special_ids(tokenizer), tokenizer.unk_token_id
    if offsets is None:  # nothing says where a token comes from: take off what is always added
        around = len(tokenizer(_PROBE)["input_ids"]) - len(tokenizer.tokenize(_PROBE))
        found = sum(number in control and number != unknown for number in ids)
        return max(0, found - around), sum(number == unknown for number in ids)
    n_special = n_unknown = 0
    for number, (start, end) in zip(ids, offsets, strict=True):
        if number in control and start < end:  # what the tokenizer adds itself spans nothing
            spelled = text[start:end].strip() == tokenizer.convert_ids_to_tokens(number)
            n_special += spelled
            n_unknown += number == unknown and not spelled
    return n_special, n_unknown


def refuse_unknown(share: float | None, spec: EvalSpec) -> None:
    """Raise `CorpusError` for a text of which the tokenizer does not know a large share."""
    if share is not None and share > LARGEST_UNKNOWN_SHARE and not spec.allow_unknown_tokens:
        raise CorpusError(
            f"{spec.dataset}: {share:.0%} of its tokens are unknown to the tokenizer of "
            f"{spec.model}, so its perplexity says little about the text; another model or text is "
            "meant, or `allow_unknown_tokens: true` evaluates it all the same"
        )
