"""The loop that the engine is measured against computes the same thing."""

import pytest
import torch

from benchmarks.concatenate import ConcatenateStepper
from benchmarks.plain_loop import PlainNeoX
from tests.support.models import random_ids, tiny, tiny_transformer
from workers.attention.visibility import Visibility
from workers.quality.nll import stream_nll, token_nll


@pytest.mark.parametrize("cache", ["ring", "concatenate"])
def test_the_benchmarked_loop_gives_the_losses_of_the_engine(cache):
    loop = PlainNeoX(tiny_transformer("gpt_neox"), 4, 28, cache)
    ids, loaded = random_ids(120), tiny("gpt_neox")
    expected = torch.cat(
        [p.nll for p in stream_nll(loaded.model, loaded.rotary, ids, Visibility(4, 28))]
    )
    losses = [
        token_nll(loop.step(int(ids[t]), t)[None], ids[t + 1 : t + 2]) for t in range(len(ids) - 1)
    ]
    torch.testing.assert_close(torch.cat(losses), expected, rtol=0, atol=1e-4)


def test_concatenating_inside_the_model_gives_the_losses_of_the_engine():
    ids, loaded = random_ids(120), tiny("llama")
    expected = torch.cat(
        [p.nll for p in stream_nll(loaded.model, loaded.rotary, ids, Visibility(4, 28))]
    )
    stepper = ConcatenateStepper(loaded, ids, Visibility(4, 28))
    losses = []
    for query in range(len(ids) - 1):
        stepper.step()
        losses.append(token_nll(stepper.logits[None], ids[query + 1 : query + 2]))
    torch.testing.assert_close(torch.cat(losses), expected, rtol=0, atol=1e-4)
