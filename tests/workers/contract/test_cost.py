"""The floors of the benchmarks: counted by hand, and as torch counts them."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.work import cache_bytes, operations, weight_bytes
from tests.support.models import tiny
from workers.attention.chunked import ChunkedPass
from workers.attention.interface import run, using
from workers.attention.visibility import DENSE


@pytest.mark.parametrize(("name", "changes"), [("gpt_neox", {}), ("llama", {}), ("qwen2", {})])
def test_operations_of_the_matrices_are_those_that_torch_counts(name, changes):
    loaded = tiny(name, **changes)
    ids = torch.zeros((1, 7), dtype=torch.int64)
    attention = ChunkedPass(loaded.rotary, DENSE)
    attention.begin(7, ids.device)
    with FlopCounterMode(display=False) as counter, torch.no_grad(), using(attention):
        run(loaded.model, ids)
    counts = counter.get_flop_counts()["Global"]
    of_matrices = sum(
        n for op, n in counts.items() if op in (torch.ops.aten.mm, torch.ops.aten.addmm)
    )
    assert operations(loaded, queries=7, logits=7, keys=0) == of_matrices


def test_operations_of_the_attention():
    loaded = tiny("llama")
    per_key = 4 * loaded.n_layers * loaded.heads * loaded.head_dim
    difference = operations(loaded, queries=3, logits=0, keys=10) - operations(
        loaded, queries=3, logits=0, keys=0
    )
    assert difference == 3 * 10 * per_key


@pytest.mark.parametrize("is_tied", [True, False])
def test_an_embedding_is_read_only_if_it_is_the_head_as_well(is_tied):
    loaded = tiny("llama", tie_word_embeddings=is_tied)
    weights = {id(weight): weight.nbytes for weight in loaded.model.parameters()}
    embedding = loaded.model.get_input_embeddings().weight.nbytes
    assert weight_bytes(loaded) == sum(weights.values()) - (0 if is_tied else embedding)


def test_a_query_reads_the_keys_and_values_of_every_layer():
    loaded = tiny("llama")  # 4 layers, 2 key heads of 16, float32
    assert cache_bytes(loaded, 10) == 2 * 4 * 2 * 16 * 4 * 10
