"""The experiment on coverage: on a process whose truth is known, and what the page says of it."""

import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks.coverage import BEGIN, END, SETTINGS, coverages, page_with_table, table
from workers.contract.spec import EvalSpec

PAGE = Path(__file__).parents[2] / "docs" / "method.md"


def losses(n_documents=30, length=3200, spread=0.3):
    generator = np.random.default_rng(0)
    levels = generator.normal(3, spread, (n_documents, 1, 1))
    return list(levels + generator.normal(0, 1, (n_documents, length, len(SETTINGS))))


def test_an_interval_over_independent_documents_covers_as_often_as_it_says():
    found = {line.drawn: line for line in coverages(losses(), draws=400)}
    for count in (4, 8, 16):
        assert 0.92 <= found[f"{count} documents of 1,536 tokens"].perplexity <= 0.99


def test_what_blocks_hide_is_seen_where_an_interval_is_too_short():
    """Documents that differ by nothing but their level: within one, passages cover it all."""
    found = list(coverages(losses(spread=5.0), draws=200))
    assert found[0].perplexity >= 0.9
    assert found[-1].drawn.startswith("one document")
    assert found[-1].perplexity >= 0.9, "the level of a document is no part of its own spread"


def test_a_table_replaces_that_of_its_model_and_no_other():
    page = f"before\n{BEGIN}\n{END}\nafter\n"
    for model in ("demo", "smollm2-135m", "demo"):
        page = page_with_table(page, model, table(model, losses(4, 8), []))
    assert page.count("`demo`, ") == page.count("`smollm2-135m`, ") == 1
    assert page.startswith("before\n")
    assert page.endswith("after\n")


def test_the_page_reaches_what_was_asked_for():
    shown = PAGE.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0]
    rows = re.findall(r"\| (.+?) \| ([\d,]+) \| ([\d.]+)% \| ([\d.]+)% \|", shown)
    assert rows
    for drawn, draws, perplexity, increase in rows:
        assert int(draws.replace(",", "")) >= 2000
        least = 86 if drawn.startswith("one document") else 88
        assert min(float(perplexity), float(increase)) >= least, drawn


@pytest.mark.parametrize("dataset", ["pydoc", "stdlib"])
def test_a_sample_of_blocks_says_what_all_blocks_say(dataset):
    from benchmarks.sampled_baseline import draw

    generator = np.random.default_rng(1)
    found = [generator.normal(0.01, 0.5, 3000) for _ in range(1 if dataset == "pydoc" else 6)]
    spec = EvalSpec(model="demo", dataset=dataset, method="recompute", window_size=132)
    covered, margins, truth = draw(found, spec, count=11, draws=100)
    assert truth == pytest.approx(np.concatenate(found).mean())
    assert len(margins) == 100
    assert covered >= 90
