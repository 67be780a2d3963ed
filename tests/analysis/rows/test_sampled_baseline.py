"""A baseline on a sample of blocks is compared on its own tokens alone, and never as the text's."""

import math
from typing import Any

import numpy as np
import pytest

from analysis.drawing.style import Look
from analysis.figures import registry
from analysis.rows import blocks, comparable, frames
from tests.analysis.figures.test_figures import caption
from tests.support.analysis_rows import row, table
from workers.contract.cost import sampled

LISTS = ("block_document", "block_index", "block_tokens", "block_nll")


def on_sample(full: dict[str, Any], count: int, seed: int = 0) -> dict[str, Any]:
    """The row that `recompute_blocks: count` would give, cut from the full one."""
    whole = [place for place, n in enumerate(full["block_tokens"]) if n == full["block_size"]]
    chosen = [whole[place] for place in sampled(len(whole), count, seed)]
    cut = {name: [full[name][place] for place in chosen] for name in LISTS}
    tokens, nll = sum(cut["block_tokens"]), math.fsum(cut["block_nll"])
    own = row(
        dataset=full["dataset"],
        method="recompute",
        n_sink=full["n_sink"],
        window_size=full["window_size"],
        recompute_blocks=count,
        seed=seed,
    )
    changes = {"nll_sum": nll, "n_tokens": tokens, "perplexity": math.exp(nll / tokens)}
    return own | cut | changes | {"perplexity_low": None, "perplexity_high": None}


def paired(rows: list[dict[str, Any]]):
    stored = table(rows)
    found = blocks.from_table(stored)
    return blocks.on_common_blocks(frames.tidy(stored), found), found


def pair_of_rows(dataset: str) -> list[dict[str, Any]]:
    return [
        row(dataset=dataset, method=method, n_sink=4, window_size=60)
        for method in ("streaming", "recompute")
    ]


@pytest.mark.parametrize("dataset", ["pydoc", "stdlib"])
def test_the_increase_is_that_of_the_common_blocks(dataset):
    ours, full = pair_of_rows(dataset)
    base = on_sample(full, 12)
    frame, found = paired([ours, base])
    (line,) = frame[frame["method"].eq("streaming")].to_dict("records")
    kept = {*zip(base["block_document"], base["block_index"], strict=True)}
    names = zip(ours["block_document"], ours["block_index"], strict=True)
    own = [nll for name, nll in zip(names, ours["block_nll"], strict=True) if name in kept]
    gap = (math.fsum(own) - base["nll_sum"]) / base["n_tokens"]
    assert line["perplexity_increase"] == pytest.approx(math.expm1(gap), rel=1e-9)
    assert line["baseline_perplexity"] == pytest.approx(ours["perplexity"] / math.exp(gap))
    assert line["baseline_blocks"] == 12
    interval = blocks.difference(found, ours["row_id"], base["row_id"])
    if dataset == "pydoc":
        assert interval.low < math.expm1(gap) < interval.high
    else:  # two blocks of a short document are too little for an interval
        assert interval is None


def test_the_full_baseline_is_preferred_and_a_larger_sample_to_a_smaller_one():
    ours, full = pair_of_rows("pydoc")
    small, large = on_sample(full, 8), on_sample(full, 16)
    frame, _ = paired([ours, large, small])
    assert frame["quality_partner"].dropna().tolist() == [large["row_id"]]
    frame, _ = paired([ours, large, full, small])
    assert frame["quality_partner"].dropna().tolist() == [full["row_id"]]
    assert frame["baseline_blocks"].isna().all()


def test_without_the_blocks_there_is_no_increase_rather_than_one_on_other_tokens():
    ours, full = pair_of_rows("pydoc")
    frame = frames.tidy(table([ours, on_sample(full, 8)]))
    assert frame["perplexity_increase"].isna().all()
    assert frame["baseline_perplexity"].isna().all()


def test_blocks_that_the_row_does_not_have_are_no_pair():
    ours, full = pair_of_rows("pydoc")
    base = on_sample(full, 8)
    base["block_index"] = [*base["block_index"][:-1], 10_000]
    frame, found = paired([ours, base])
    assert frame["perplexity_increase"].isna().all()
    assert blocks.difference(found, ours["row_id"], base["row_id"]) is None


def test_bars_stand_on_the_same_tokens_and_the_caption_says_so():
    ours, full = pair_of_rows("pydoc")
    base = on_sample(full, 10)
    frame, found = paired([ours, base])
    data = registry.FAMILIES["main_comparison"].select(comparable.choose(frame))
    look = Look()
    with look.drawing():
        figure = registry.FAMILIES["main_comparison"].draw(data, found, look)
    heights = {round(bar.get_height(), 6) for bar in figure.axes[0].patches}
    common = found[ours["row_id"]].on(found[base["row_id"]])
    same = math.exp(common.nll.sum() / common.tokens.sum())
    assert {round(same, 6), round(base["perplexity"], 6)} <= heights
    assert round(ours["perplexity"], 6) not in heights
    assert "scored on 10 whole blocks" in caption(figure)


def test_the_interval_of_a_quarter_of_the_blocks_contains_the_full_increase():
    ours, full = pair_of_rows("pydoc")
    truth = math.expm1((ours["nll_sum"] - full["nll_sum"]) / full["n_tokens"])
    inside = 0
    count = len(full["block_nll"]) // 4
    for seed in range(100):
        base = on_sample(full, count, seed)
        found = blocks.from_table(table([ours, base]))
        interval = blocks.difference(found, ours["row_id"], base["row_id"])
        inside += interval.low <= truth <= interval.high
    assert inside >= 90


def test_sampled_rows_are_labelled_and_stand_in_no_pareto_front():
    ours, full = pair_of_rows("pydoc")
    frame, _ = paired([ours, on_sample(full, 10), row(dataset="pydoc", method="dense")])
    assert "recompute (on 10 blocks)" in frame["method_label"].tolist()
    data = registry.FAMILIES["pareto"].select(comparable.choose(frame))
    assert set(data.rows["method"]) == {"streaming", "dense"}
    assert np.isfinite(data.rows["perplexity"]).all()
