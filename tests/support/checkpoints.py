"""Model folders in the Hub's layout: tiny random Llamas with the demo model's tokenizer."""

import json
import shutil

import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from workers.models.presets import DEMO_FOLDER

SHARD = "w/model-00001-of-00001.safetensors"


def llama_folder(folder, *, tokenizer=True, **changes):
    """Save a tiny Llama with random weights, and return its folder."""
    torch.manual_seed(1)
    settings = {
        "vocab_size": 2048,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "max_position_embeddings": 256,
    }
    LlamaForCausalLM(LlamaConfig(**{**settings, **changes})).save_pretrained(folder)
    if tokenizer:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(DEMO_FOLDER / name, folder / name)
    return folder


def edit_weights(folder, change):
    """Replace the tensors of a folder by what `change` makes of them."""
    weights = change(load_file(folder / "model.safetensors"))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def edit_json(folder, name, **changes):
    """Change entries of a JSON file; None removes one."""
    values = json.loads((folder / name).read_text()) | changes
    kept = {key: value for key, value in values.items() if value is not None}
    (folder / name).write_text(json.dumps(kept))


def move_into_subfolder(folder, scale=1.0):
    """Put the weights into a shard below `w/` that an index names; its head times `scale`."""
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"] *= scale
    (folder / "model.safetensors").unlink()
    (folder / "w").mkdir()
    save_file(weights, folder / SHARD, metadata={"format": "pt"})
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(weights, SHARD)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
