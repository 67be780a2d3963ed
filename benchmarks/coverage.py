"""How often the 95 % intervals contain the truth, on per-token losses of a real model.

    python -m benchmarks.coverage [--model demo] [--draws 2000] [--write]

Every held-out document of `stdlib` is scored under 4 + 124 and 4 + 60. Excerpts are then drawn from
these losses at random and given to the product's own functions. *Documents*: each document of a
draw is any document, the passage anywhere in it; the truth is the mean of the document means.
*Passages*: one document at a time, the truth is that document's own value. *Needed* is the half
width that would have covered exactly 95 % had it been known beforehand; beside it stands the median
half width of the intervals. With --write the table goes into docs/method.md.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray

from workers.attention.visibility import Visibility
from workers.contract.spec import EvalSpec
from workers.contract.statistics import BASE_BLOCK, block_sums, mean_interval
from workers.models.loading import load_model
from workers.quality.nll import stream_nll
from workers.texts.tokens import tokenised_documents

PAGE = Path(__file__).parent.parent / "docs" / "method.md"
BEGIN, END = "<!-- coverage table: python -m benchmarks.coverage -->", "<!-- end of coverage -->"
SETTINGS = (Visibility(4, 124), Visibility(4, 60))
DOCUMENTS = ((4, 1024), (4, 1536), (8, 1536), (16, 1536))
"""Documents in a draw, tokens of each."""
PASSAGES = (1024, 1536, 3072, 6144)
"""Tokens of the one document of a draw."""
SPARE = 2
"""A document is drawn from if it is so many times longer: else excerpt and truth are one."""
SEEDS = (0, 1, 2, 3)

Losses = list[NDArray[np.float64]]
"""Of every document: [n, 2], nats, one column for each of `SETTINGS`."""


@dataclass(frozen=True)
class Coverage:
    """One line of the table."""

    drawn: str
    draws: int
    perplexity: float
    increase: float
    perplexity_ratio: float
    """Median half width over the one needed."""
    increase_ratio: float


@click.command(help=__doc__)
@click.option("--model", default="demo", show_default=True)
@click.option("--max-tokens", type=int, help="Of each document; a larger model takes long.")
@click.option("--draws", default=2000, show_default=True, help="For each line, over all seeds.")
@click.option("--write", is_flag=True, help=f"Put the model's table into {PAGE.name}.")
def main(model: str, max_tokens: int | None, draws: int, *, write: bool) -> None:
    """Measure and print, and write if asked."""
    spec = EvalSpec(model=model, dataset="stdlib", method="streaming", max_tokens=max_tokens)
    losses = token_losses(spec)
    lines = table(model, losses, list(coverages(losses, draws)))
    click.echo("\n".join(lines))
    if write:
        PAGE.write_text(page_with_table(PAGE.read_text(encoding="utf-8"), model, lines), "utf-8")


def token_losses(spec: EvalSpec) -> Losses:
    """Return the losses of all documents under both settings."""
    loaded = load_model(spec, torch.device("cpu"))
    return [
        np.stack(
            [
                np.concatenate([part.nll.double().numpy() for part in parts])
                for parts in (
                    stream_nll(loaded.model, loaded.rotary, document.ids, visibility)
                    for visibility in SETTINGS
                )
            ],
            axis=1,
        )
        for document in tokenised_documents(spec, loaded)
    ]


def coverages(losses: Losses, draws: int) -> Iterator[Coverage]:
    """Yield one line for each size and number of documents that are long enough."""
    for count, length in DOCUMENTS:
        long = [one for one in losses if len(one) >= length]
        if not long:
            continue
        truth = np.mean([one.mean(axis=0) for one in long], axis=0)
        drawn = f"{count} documents of {length:,} tokens"
        yield _coverage(drawn, [(long, truth)], count, length, draws)
    for length in PASSAGES:
        alone = [([one], one.mean(axis=0)) for one in losses if len(one) >= SPARE * length]
        if alone:
            yield _coverage(f"one document, {length:,} tokens of it", alone, 1, length, draws)


def _coverage(
    drawn: str,
    populations: Sequence[tuple[Losses, NDArray[np.float64]]],
    count: int,
    length: int,
    draws: int,
) -> Coverage:
    """Draw from each population in turn and compare every interval with its truth."""
    errors, margins = [], []
    for seed in SEEDS:
        generator = np.random.default_rng(seed)
        for draw in range(draws // len(SEEDS)):
            documents, truth = populations[draw % len(populations)]
            excerpts = [_excerpt(documents, length, generator) for _ in range(count)]
            found = [mean_interval(*_blocks(excerpts, which)) for which in ((1, 0), (-1, 1))]
            wanted = truth[0], truth[1] - truth[0]
            errors.append([abs(one.value - at) for one, at in zip(found, wanted, strict=True)])
            margins.append([np.nan if one.margin is None else one.margin for one in found])
    error, margin = np.array(errors), np.array(margins)
    covered = (error <= margin).mean(axis=0)
    ratio = np.median(margin, axis=0) / np.quantile(error, 0.95, axis=0)
    return Coverage(drawn, len(error), *map(float, covered), *map(float, ratio))


def _excerpt(documents: Losses, length: int, generator: np.random.Generator) -> NDArray[np.float64]:
    document = documents[generator.integers(len(documents))]
    start = generator.integers(len(document) - length + 1)
    return document[start : start + length]


def _blocks(
    excerpts: Losses, weights: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Return document, sum and tokens of every block, as a row stores them."""
    document, sums, tokens = [], [], []
    for number, excerpt in enumerate(excerpts):
        blocks = block_sums(np.arange(len(excerpt)), excerpt @ weights)
        document += [number] * len(blocks["block_nll"])
        sums += blocks["block_nll"]
        tokens += blocks["block_tokens"]
    return np.array(document), np.array(sums), np.array(tokens)


def table(model: str, losses: Losses, found: Sequence[Coverage]) -> list[str]:
    """Return the table of one model as lines of Markdown."""
    settings = " against ".join(f"{one.n_sink} + {one.window_size}" for one in SETTINGS[::-1])
    return [
        f"`{model}`, {len(losses)} documents of `stdlib`, {sum(map(len, losses)):,} tokens, "
        f"{settings}, blocks of {BASE_BLOCK} tokens:",
        "",
        "| drawn | draws | perplexity covered | increase covered | width / needed (perplexity) | "
        "width / needed (increase) |",
        "| --- | --- | --- | --- | --- | --- |",
        *(
            f"| {one.drawn} | {one.draws:,} | {one.perplexity:.1%} | {one.increase:.1%} | "
            f"{one.perplexity_ratio:.2f} | {one.increase_ratio:.2f} |"
            for one in found
        ),
    ]


def page_with_table(page: str, model: str, lines: Sequence[str]) -> str:
    """Return the page with this model's table replaced, or added behind the others."""
    before, rest = page.split(BEGIN + "\n")
    tables, after = rest.split(END)
    kept = [
        one for one in tables.strip().split("\n\n`") if one and not one.startswith(f"`{model}`")
    ]
    kept = [one if one.startswith("`") else f"`{one}" for one in kept]
    kept = [one for one in kept if not one.startswith(f"`{model}`")]
    return before + BEGIN + "\n" + "\n\n".join([*kept, "\n".join(lines)]) + "\n" + END + after


if __name__ == "__main__":
    main()
