"""Whether the exact baseline on a sample of blocks says what the whole baseline says.

    python -m benchmarks.sampled_baseline [--max-tokens 4096] [--draws 100]

Every token of `pydoc` and of each held-out document of `stdlib` is scored under streaming at
4 + 128 and under the exact baseline at the same budget. Then `recompute_blocks` of a quarter of the
blocks are chosen with seed after seed, as a worker chooses them, and the interval of the increase
from them is compared with the increase over all blocks.
"""

from collections.abc import Sequence
from dataclasses import replace

import click
import numpy as np
import torch
from numpy.typing import NDArray

from workers.attention.visibility import Visibility
from workers.contract.cost import scored_queries
from workers.contract.spec import EvalSpec
from workers.contract.statistics import BASE_BLOCK, block_sums, mean_interval
from workers.models.loading import load_model
from workers.quality.nll import recompute_nll, stream_nll
from workers.texts.tokens import tokenised_documents

SETTING = Visibility(4, 128)
BUDGET = 132
SHARE = 0.25

Differences = list[NDArray[np.float64]]
"""Of every document: streaming loss - baseline loss, nats, one for each query."""


@click.command(help=__doc__)
@click.option("--model", default="demo", show_default=True)
@click.option("--max-tokens", default=4096, show_default=True, help="Of each document.")
@click.option("--draws", default=100, show_default=True)
def main(model: str, max_tokens: int, draws: int) -> None:
    """Measure and print one line for each data set."""
    for dataset in ("pydoc", "stdlib"):
        spec = EvalSpec(
            model=model,
            dataset=dataset,
            method="recompute",
            n_sink=0,
            window_size=BUDGET,
            max_tokens=max_tokens,
        )
        found = differences(spec)
        n_blocks = sum(len(one) // BASE_BLOCK for one in found)
        count = max(1, round(SHARE * n_blocks))
        covered, widths, truth = draw(found, spec, count, draws)
        click.echo(
            f"{dataset}: {len(found)} documents, {sum(map(len, found)):,} tokens, {count} of "
            f"{n_blocks} blocks: the interval contains the full increase ({np.expm1(truth):+.2%}) "
            f"in {covered} of {draws} draws; median half width {np.median(widths):.2%}"
        )


def differences(spec: EvalSpec) -> Differences:
    """Score every query of every document both ways."""
    loaded = load_model(spec, torch.device("cpu"))
    found = []
    for document in tokenised_documents(spec, loaded):
        streaming, baseline = (
            torch.cat([part.nll for part in parts]).double().numpy()
            for parts in (
                stream_nll(loaded.model, loaded.rotary, document.ids, SETTING),
                recompute_nll(loaded.model, loaded.rotary, document.ids, BUDGET),
            )
        )
        found.append(streaming - baseline)
    return found


def draw(
    found: Differences, spec: EvalSpec, count: int, draws: int
) -> tuple[int, list[float], float]:
    """Return how many intervals contain the full difference, their half widths, and the former.

    A sample that is too little text for an interval contains nothing.
    """
    lengths = [len(one) + 1 for one in found]
    truth = float(np.concatenate(found).mean())
    covered, margins = 0, []
    for seed in range(draws):
        chosen = scored_queries(replace(spec, recompute_blocks=count, seed=seed), lengths)
        interval = mean_interval(*_blocks(found, chosen))
        if interval.margin is not None:
            margins.append(interval.margin)
            covered += abs(interval.value - truth) <= interval.margin
    return covered, margins, truth


def _blocks(
    found: Differences, chosen: Sequence[Sequence[range]]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    document, sums, tokens = [], [], []
    for number, (values, runs) in enumerate(zip(found, chosen, strict=True)):
        for run in runs:
            blocks = block_sums(np.array(run), values[run.start : run.stop])
            document += [number] * len(blocks["block_nll"])
            sums += blocks["block_nll"]
            tokens += blocks["block_tokens"]
    return np.array(document), np.array(sums), np.array(tokens)


if __name__ == "__main__":
    main()
