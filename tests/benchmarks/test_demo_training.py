"""Training the demo model: a run that was broken off ends like one that was not."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.demo_training.muon import orthogonalised
from benchmarks.demo_training.recipe import Recipe
from benchmarks.demo_training.tokenizer import BOS_ID
from benchmarks.demo_training.training import Batches, Trainer

TINY = Recipe(
    hidden=32,
    layers=2,
    heads=2,
    context=32,
    batch=4,
    tokens=6 * 4 * 32,
    attention_gains=(0.5, 2.0),
)
GENERATOR = np.random.default_rng(0)
DOCUMENTS = {
    name: GENERATOR.integers(1, 2048, size).astype(np.uint16)
    for name, size in (("stdlib/a.py", 400), ("stdlib/test/b.py", 300), ("pydoc/c", 33))
}


def trained(checkpoint: Path, break_after: int | None = None) -> dict[str, torch.Tensor]:
    trainer = Trainer(TINY, DOCUMENTS, "cpu", checkpoint)
    if break_after is not None:
        for step in range(break_after):
            trainer.train_step(step)
        trainer.save()
        trainer = Trainer(TINY, DOCUMENTS, "cpu", checkpoint)
    trainer.run()
    return dict(trainer.model.state_dict())


def test_a_run_that_was_broken_off_ends_like_one_that_was_not(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole.pt")
    resumed = trained(tmp_path / "resumed.pt", break_after=3)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_seed_gives_one_model_and_another_seed_another_batch(tmp_path: Path) -> None:
    first, second = trained(tmp_path / "1.pt"), trained(tmp_path / "2.pt")
    assert all(torch.equal(first[name], second[name]) for name in first)
    batches = [Batches(Recipe(seed=seed, context=32), DOCUMENTS).batch(0) for seed in (0, 1)]
    assert not torch.equal(*batches)


def test_half_of_the_sequences_start_with_bos_and_none_holds_it_elsewhere() -> None:
    batches = Batches(TINY, DOCUMENTS)
    ids = torch.cat([batches.batch(step) for step in range(200)])
    assert ids.shape == (800, TINY.context + 1)
    assert float((ids[:, 0] == BOS_ID).double().mean()) == pytest.approx(0.5, abs=0.06)
    assert not (ids[:, 1:] == BOS_ID).any()


@pytest.mark.parametrize("shape", [(16, 16), (16, 64), (64, 16)])
def test_an_orthogonalised_update_has_singular_values_near_one(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalised(torch.randn(shape)))
    assert values.min() > 0.4
    assert values.max() < 1.4
