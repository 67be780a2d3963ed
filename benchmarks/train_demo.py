"""Trains the demo model: tokenizer, weights and card, from text that every CPython carries.

    python -m benchmarks.train_demo --work DIR                  # the shipped recipe, on a CPU
    python -m benchmarks.train_demo --work DIR --device cuda
    python -m benchmarks.train_demo --work DIR --set layers=8 --set tokens=2000000

Started again with the same folder, it continues from the last checkpoint; the result is the same.
`--also-held-out LIBRARY` (repeatable) drops training files that share a passage with a held-out
document of another Python's standard library, such as `/usr/lib/python3.13`.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from benchmarks.demo_training.card import Training, write_card
from benchmarks.demo_training.export import export_model, export_tokenizer, export_training_files
from benchmarks.demo_training.recipe import Recipe
from benchmarks.demo_training.text import held_out_texts, overlapping, training_texts
from benchmarks.demo_training.tokenizer import encode, train_tokenizer
from benchmarks.demo_training.training import Trainer

SHIPPED = Path(__file__).parents[1] / "workers" / "demo"


def prepare(work: Path, other_libraries: Sequence[Path]) -> tuple[Tokenizer, dict[str, str]]:
    """Return the tokenizer and the training texts, none of which overlaps a held-out document.

    Both are kept in the work folder. A tokenizer decides which spans are shared, and the texts
    that are left decide the tokenizer, so the two alternate until nothing more is dropped.
    """
    tokenizer_file, names_file = work / "tokenizer.json", work / "names.json"
    texts = training_texts()
    if names_file.exists():
        names = json.loads(names_file.read_text(encoding="utf-8"))
        return Tokenizer.from_file(str(tokenizer_file)), {name: texts[name] for name in names}
    held_out = held_out_texts(other_libraries)
    while True:
        tokenizer = train_tokenizer(texts.values())
        shared = overlapping(encode(tokenizer, texts), encode(tokenizer, held_out).values())
        print(f"{len(texts)} training files, {len(shared)} share a passage with a held-out one")
        if not shared:
            break
        texts = {name: text for name, text in texts.items() if name not in shared}
    tokenizer.save(str(tokenizer_file))
    names_file.write_text(json.dumps(sorted(texts)), encoding="utf-8")
    return tokenizer, texts


def main() -> None:
    """Train, export and describe the model."""
    arguments = _arguments()
    recipe = _recipe(arguments.set)
    arguments.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(arguments.threads)
    tokenizer, texts = prepare(arguments.work, arguments.also_held_out)
    documents = encode(tokenizer, texts)
    trainer = Trainer(recipe, documents, arguments.device, arguments.work / "checkpoint.pt")
    if not arguments.export_only:
        trainer.run()
    arguments.out.mkdir(parents=True, exist_ok=True)
    export_model(trainer.model, arguments.out)
    export_tokenizer(tokenizer, arguments.out)
    export_training_files(texts, arguments.out)
    training = Training(
        recipe=recipe,
        progress=trainer.progress,
        files=len(texts),
        characters=sum(map(len, texts.values())),
    )
    write_card(arguments.out, training)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--work", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument("--out", type=Path, default=SHIPPED, help="folder of the model")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--also-held-out", type=Path, action="append", default=[], metavar="DIR")
    parser.add_argument("--export-only", action="store_true", help="export the last checkpoint")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE")
    return parser.parse_args()


def _recipe(settings: Sequence[str]) -> Recipe:
    defaults: dict[str, Any] = {
        field.name: getattr(Recipe(), field.name) for field in fields(Recipe)
    }
    changes: dict[str, Any] = {}
    for name, _, value in (setting.partition("=") for setting in settings):
        if name not in defaults:
            raise SystemExit(f"unknown field {name!r}; allowed: {', '.join(defaults)}")
        changes[name] = type(defaults[name])(json.loads(value))
    return replace(Recipe(), **changes)


if __name__ == "__main__":
    main()
