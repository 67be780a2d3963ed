"""The model card: what was trained on what, and what the shipped files measure.

The numbers are kept in the card as JSON, too, so that `tests/workers/models/test_demo_model.py`
can read them and measure again.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.demo_training.measuring import SLICES, Figures, all_figures
from benchmarks.demo_training.recipe import Recipe
from benchmarks.demo_training.training import Progress
from workers.contract.spec import EvalSpec
from workers.models.loading import load_model

BEGIN, END = "<!-- measured -->", "<!-- end of measured -->"


@dataclass(frozen=True, kw_only=True)
class Training:
    """What the card says about the run that made a model."""

    recipe: Recipe
    progress: Progress
    files: int
    characters: int


def write_card(folder: Path, training: Training) -> None:
    """Measure the exported folder and write its `README.md`."""
    figures = all_figures(str(folder))
    loaded = load_model(
        EvalSpec(model=str(folder), dataset="pydoc", method="dense"), torch.device("cpu")
    )
    text = card_text(training, figures, loaded.model.num_parameters())
    (folder / "README.md").write_text(text, encoding="utf-8")


def card_text(training: Training, figures: Figures, parameters: int) -> str:
    """The card of a model of this many parameters, from what was measured."""
    recipe, progress = training.recipe, training.progress
    points = [f"({tokens:,.0f}, {weight})" for tokens, weight in recipe.sink_weights]
    return _TEMPLATE.format(
        parameters=parameters / 1e6,
        files=training.files,
        characters=training.characters / 1e6,
        tokens=progress.step * recipe.tokens_per_step / 1e6,
        minutes=progress.seconds / 60,
        loss=progress.loss,
        **{name: getattr(recipe, name) for name in _RECIPE_FIELDS},
        table=_table(figures),
        heads=recipe.layers * recipe.heads,
        heads_per_layer=recipe.heads,
        sink_weights=", ".join(points),
        whole_pydoc=figures["whole"]["pydoc"],
        whole_stdlib=figures["whole"]["stdlib"],
        sinks=figures["sink"]["share_of_heads_above_0.3"],
        sinks_without_bos=figures["sink"]["share_of_heads_above_0.3_without_bos"],
        begin=BEGIN,
        end=END,
        figures=json.dumps(figures, indent=1),
    )


def read_figures(card: Path) -> Figures:
    """The numbers that a card states."""
    text = card.read_text(encoding="utf-8")
    block = text[text.index(BEGIN) + len(BEGIN) : text.index(END)]
    figures: Figures = json.loads(block[block.index("{") : block.rindex("}") + 1])
    return figures


def _table(figures: Figures) -> str:
    head = ["| corpus | method | all tokens | after 128 tokens | beyond 768 tokens |"]
    lines = [
        f"| {dataset} | {method} | " + " | ".join(map(_cell, values.values())) + " |"
        for dataset in SLICES
        for method, values in figures[dataset].items()
    ]
    return "\n".join([*head, "| --- | --- | --- | --- | --- |", *lines])


def _cell(perplexity: float | None) -> str:
    return "-" if perplexity is None else f"{perplexity:.2f}"


_TEMPLATE = """\
# The demo model of sinksweep

A GPT-NeoX (rotary positions, sequential residuals) of {parameters:.2f} M parameters: {layers} \
layers, width {hidden}, {heads_per_layer} heads, trained on {context} positions, with a byte-level \
BPE of 2,048 tokens that puts `<|endoftext|>` in front of every document. It is small and knows \
little; it is here because it has an attention sink, so that the effect of evicting one can be \
seen without a network and without a GPU.

## Training

- Text: {files} files, {characters:.1f} M characters: the source of the standard library of \
CPython 3.11.7, tests included, and the topics of its language reference (`pydoc_data`). Their \
names and sha256 are in `training_files.json`. Licence of the text: Python Software Foundation \
License Version 2; some modules carry notices of their own.
- Held out: every module and topic whose name has a sha256 that is 0 modulo 12 \
(`workers/texts/heldout.py`). Files that share 64 tokens in a row with a held-out document, of \
Python 3.10, 3.11, 3.12 or 3.13, were dropped from training.
- {tokens:.2f} M tokens in {minutes:.0f} minutes on one thread of a shared CPU; {batch} sequences \
of {context} tokens per step, seed {seed}; running mean of the loss at the end {loss:.3f} nats per \
token.
- A share of {bos_share} of the sequences starts with `<|endoftext|>`, the others at an arbitrary \
token, as a recomputed window does.
- **The sink was encouraged.** Large models learn over billions of tokens to park unneeded \
attention on the first token. So few tokens do not suffice for that (`docs/log.md`), so a loss was \
added, `-log` of the attention probability on position 0 averaged over heads and queries of the \
layers from {first_sink_layer} on. Its weight goes through these (tokens, weight) points: \
{sink_weights}. \
Evaluation is not affected: the figures below are what any model would be measured by.

- The recipe was chosen, the last rise of the sink loss while the run was under way, by \
looking at four held-out documents (`inspect.py`, `imaplib.py`, `xml/dom/minidom.py`, `types`): \
the figures below describe this model, they are no estimate for another one made in the same way.

## Measured

Perplexity with a budget of 128 tokens (streaming: 4 + 124), float32, on the first 4,096 scored \
tokens of `pydoc` and the first 1,024 of each of the first 12 modules of `stdlib`:

{table}

On all held-out text, whole: `streaming` {whole_pydoc:.2f} on `pydoc`, {whole_stdlib:.2f} on \
`stdlib`.

Of {heads} heads, a share of {sinks} pays more than 0.3 of its attention to position 0 when that \
holds `<|endoftext|>`, and {sinks_without_bos} when it holds an arbitrary token.

{begin}
```json
{figures}
```
{end}

## Reproduce

```
python -m benchmarks.train_demo --work demo-training \\
    --also-held-out LIB/python3.10 --also-held-out LIB/python3.12 --also-held-out LIB/python3.13
```

with CPython 3.11.7 and torch 2.13.0, where `LIB/pythonX.Y` are the standard libraries of 3.10.13, \
3.12.1 and 3.13.0.
The shipped weights were trained with a draft of this script, in two runs of which the second \
continued from a checkpoint of the first. The first 7 steps of draft and script agree bit for bit; \
the whole run was not repeated.
"""

_RECIPE_FIELDS = (
    "hidden",
    "layers",
    "context",
    "batch",
    "bos_share",
    "seed",
    "first_sink_layer",
)
