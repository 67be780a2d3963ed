"""Writes the files that ship: weights in float16, tokenizer, and the list of training files."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import GPTNeoXForCausalLM, PreTrainedTokenizerFast

from benchmarks.demo_training.text import text_hash
from benchmarks.demo_training.tokenizer import BOS

TRAINING_FILES = "training_files.json"


def export_model(model: GPTNeoXForCausalLM, folder: Path) -> None:
    """Write `config.json` and `model.safetensors` (float16)."""
    state = {name: tensor.cpu() for name, tensor in model.state_dict().items()}
    shipped = GPTNeoXForCausalLM(model.config)
    shipped.load_state_dict(state)
    shipped.to(torch.float16).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)


def export_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write `tokenizer.json`, which adds BOS by itself, and `tokenizer_config.json`."""
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=BOS, eos_token=BOS)
    fast.save_pretrained(folder)


def export_training_files(texts: Mapping[str, str], folder: Path) -> None:
    """Write the name and sha256 of every file that was trained on, sorted by name."""
    hashes = {name: text_hash(texts[name]) for name in sorted(texts)}
    (folder / TRAINING_FILES).write_text(json.dumps(hashes, indent=0) + "\n", encoding="utf-8")
