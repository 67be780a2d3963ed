"""The demo tokenizer: byte-level BPE whose post-processor puts BOS in front of every document.

Byte-level means that any text round-trips. BOS is ``<|endoftext|>``, added by ``tokenizer.json``
itself, so that an ordinary call with ``add_special_tokens=True`` gives the document start that the
model was trained with, and ``add_special_tokens=False`` gives the bare text.
"""

from collections.abc import Iterable, Mapping

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from benchmarks.demo_training.text import Tokens

BOS = "<|endoftext|>"
BOS_ID = 0
VOCABULARY = 2048


def train_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """A byte-level BPE of ``VOCABULARY`` tokens, trained on these texts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[BOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B:1", special_tokens=[(BOS, BOS_ID)]
    )
    return tokenizer


def encode(tokenizer: Tokenizer, texts: Mapping[str, str]) -> dict[str, Tokens]:
    """The token ids of each text, without BOS; shape (T,), uint16."""
    encodings = tokenizer.encode_batch(list(texts.values()), add_special_tokens=False)
    return {
        name: np.array(encoding.ids, dtype=np.uint16)
        for name, encoding in zip(texts, encodings, strict=True)
    }
