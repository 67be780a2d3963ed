"""The first chunk fits the memory and the window."""

import dataclasses

import pytest

from tests.models import tiny
from workers.chunksize import MEMORY_SHARE, chunk_bytes, first_chunk
from workers.quality import CHUNK
from workers.visibility import DENSE, Visibility


def test_a_cpu_has_one_size():
    assert first_chunk(tiny("llama"), Visibility(4, 4096), 10**6, None) == CHUNK


@pytest.mark.parametrize(
    ("visibility", "expected"),
    [(Visibility(4, 60), 256), (Visibility(4, 1020), 1024), (Visibility(4, 100_000), 4096)],
)
def test_with_memory_to_spare_a_chunk_is_about_as_long_as_the_window(visibility, expected):
    assert first_chunk(tiny("llama"), visibility, 10**6, 10**12) == expected


@pytest.mark.parametrize("free_bytes", [10**7, 10**8, 10**9, 10**10])
def test_a_chunk_takes_its_share_of_the_memory_or_is_the_smallest(free_bytes):
    loaded = dataclasses.replace(tiny("llama"), vocab_size=50_000)
    chunk = first_chunk(loaded, DENSE, 8192, free_bytes)
    assert chunk == 256 or chunk_bytes(loaded, chunk, 8192) <= MEMORY_SHARE * free_bytes
    assert chunk == 4096 or chunk_bytes(loaded, 2 * chunk, 8192) > MEMORY_SHARE * free_bytes
