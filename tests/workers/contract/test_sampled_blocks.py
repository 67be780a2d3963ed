"""The sample of blocks: whole, evenly spread, and every block as likely as any other."""

import itertools
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from workers.contract.cost import next_query, quality_forwards, sampled, scored_queries
from workers.contract.spec import EvalSpec
from workers.contract.statistics import BASE_BLOCK, MAX_BLOCKS

LENGTHS = st.lists(st.integers(1, 5000), min_size=1, max_size=8)


def spec(**changes) -> EvalSpec:
    return EvalSpec(**{"model": "demo", "dataset": "stdlib", "method": "recompute"} | changes)


def blocks(queries) -> list[tuple[int, int]]:
    """The (document, block) pairs of runs of queries, each of which must be whole blocks."""
    found = []
    for document, runs in enumerate(queries):
        for run in runs:
            assert run.start % BASE_BLOCK == run.stop % BASE_BLOCK == 0
            found += [(document, at // BASE_BLOCK) for at in run[::BASE_BLOCK]]
    return found


@given(LENGTHS)
def test_without_a_sample_everything_is_scored(lengths):
    queries = scored_queries(spec(), lengths)
    assert [list(run) for runs in queries for run in runs] == [
        list(range(length - 1)) for length in lengths if length > 1
    ]


@given(LENGTHS, st.integers(1, 40), st.integers(0, 9))
def test_a_sample_is_so_many_whole_blocks_of_the_documents(lengths, count, seed):
    whole = [(d, b) for d, length in enumerate(lengths) for b in range((length - 1) // BASE_BLOCK)]
    chosen = blocks(scored_queries(spec(recompute_blocks=count, seed=seed), lengths))
    assert chosen == sorted(set(chosen))
    assert set(chosen) <= set(whole)
    assert len(chosen) == min(count, len(whole))


@given(st.integers(1, 500), st.integers(1, 500), st.integers(0, 99))
def test_a_sample_is_evenly_spread(population, size, seed):
    chosen = sampled(population, size, seed)
    gaps = [second - first for first, second in itertools.pairwise(chosen)]
    apart = population / min(size, population)
    assert all(int(apart) <= gap <= int(apart) + 1 for gap in gaps)
    assert chosen[0] >= 0
    assert chosen[-1] < population


def test_every_block_is_as_likely_as_any_other():
    drawn = Counter(place for seed in range(4000) for place in sampled(13, 5, seed))
    assert sorted(drawn) == list(range(13))
    expected = 4000 * 5 / 13
    assert all(abs(count - expected) < 0.08 * expected for count in drawn.values())


def test_blocks_of_a_text_of_millions_are_those_of_its_rows():
    length = 3 * MAX_BLOCKS * BASE_BLOCK + 1
    (runs,) = scored_queries(spec(recompute_blocks=2), [length])
    assert [len(run) for run in runs] == [4 * BASE_BLOCK] * 2


def test_the_work_is_proportional_to_the_blocks():
    lengths = [200_000]
    forwards = {
        count: quality_forwards(spec(window_size=1020, recompute_blocks=count), lengths)
        for count in (50, 100, 200)
    }
    per_block = BASE_BLOCK * (1024 + 1)
    for count, work in forwards.items():
        # The few blocks at the start of the document share one forward.
        assert count * per_block * 0.95 <= work <= count * per_block
    assert quality_forwards(spec(window_size=1020), lengths) > 3.8 * forwards[200]


def test_the_next_query_skips_what_is_not_scored():
    runs = (range(256, 512), range(1024, 1280))
    assert [next_query(runs, at) for at in (0, 256, 300, 512, 1279, 1280)] == [
        *(256, 256, 300, 1024, 1279, None)
    ]
