"""The first chunk fits the memory and the window."""

import dataclasses

import pytest

from tests.support.models import tiny
from workers.attention.chunked import CHUNK
from workers.attention.visibility import DENSE, Visibility
from workers.quality.chunks import LARGEST, MEMORY_SHARE, chunk_bytes, first_chunk


def test_a_cpu_has_one_size():
    assert first_chunk(tiny("llama"), Visibility(4, 4096), 10**6, None) == CHUNK


@pytest.mark.parametrize(
    ("visibility", "expected"),
    [(Visibility(4, 60), 256), (Visibility(4, 1020), 1024), (Visibility(4, 100_000), 8192)],
)
def test_where_scores_are_stored_a_chunk_is_about_as_long_as_the_window(visibility, expected):
    soft_capped = tiny("gemma2", attn_logit_softcapping=30.0)
    assert first_chunk(soft_capped, visibility, 10**6, 10**13) == expected


def test_where_they_are_not_it_is_as_long_as_the_memory_allows():
    assert first_chunk(tiny("llama"), Visibility(4, 60), 10**6, 10**12) == LARGEST
    large = dataclasses.replace(tiny("llama"), vocab_size=500_000)
    assert first_chunk(large, Visibility(4, 60), 10**6, 2 * 10**10) == 1024


@pytest.mark.parametrize("model", [tiny("llama"), tiny("gemma2", attn_logit_softcapping=30.0)])
@pytest.mark.parametrize("free_bytes", [10**7, 10**8, 10**9, 10**10])
def test_a_chunk_takes_its_share_of_the_memory_or_is_the_smallest(free_bytes, model):
    loaded, fused = dataclasses.replace(model, vocab_size=50_000), "Llama" in model.key
    chunk = first_chunk(loaded, DENSE, 8192, free_bytes)
    share = MEMORY_SHARE * free_bytes
    assert chunk == 256 or chunk_bytes(loaded, chunk, 8192, fused=fused) <= share
    assert chunk == LARGEST or chunk_bytes(loaded, 2 * chunk, 8192, fused=fused) > share
