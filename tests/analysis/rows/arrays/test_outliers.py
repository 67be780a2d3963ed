"""The search for outliers against one that looks at every row by itself."""

import numpy as np
import pytest

from analysis.rows.arrays.outliers import far_above


def row_by_row(values, groups, work, factor, fewest) -> dict[int, float]:
    found = {}
    for group in dict.fromkeys(groups.tolist()):
        for own in np.flatnonzero(groups == group):
            peers = np.flatnonzero((groups == group) & (work >= work[own]))
            peers = peers[peers != own]
            if len(peers) < fewest:
                continue
            median = np.median(values[peers])
            if values[own] >= factor * median:
                found[int(own)] = float(values[own] / median)
    return found


@pytest.mark.parametrize("seed", range(60))
def test_the_same_rows_in_the_same_order_with_the_same_factors_as_row_by_row(seed):
    random = np.random.default_rng(seed)
    count = int(random.integers(1, 200))
    groups = random.integers(0, random.integers(1, 12), count)
    work = random.integers(1, random.integers(2, 9), count).astype(float)
    # Few different values, so that many are equal; some far above the others.
    values = random.integers(1, random.integers(2, 50), count) * random.choice([1.0, 9.5], count)
    values[random.random(count) < 0.02] = np.inf
    fewest = int(random.integers(1, 3))
    found = far_above(values, groups, work, factor=3.0, fewest=fewest)
    with np.errstate(invalid="ignore"):
        expected = row_by_row(values, groups, work, 3.0, fewest)
    assert list(found) == list(expected)
    assert list(found.values()) == pytest.approx(list(expected.values()), rel=0, nan_ok=True)


def test_nothing_is_found_among_no_rows():
    empty = np.array([])
    assert far_above(empty, empty.astype(int), empty, factor=3.0, fewest=1) == {}


def test_a_slow_row_of_less_work_is_found_and_one_of_more_work_is_not():
    values, work = np.array([9.0, 1.0, 1.1, 9.0]), np.array([1.0, 2.0, 2.0, 3.0])
    found = far_above(values, np.zeros(4, dtype=int), work, factor=3.0, fewest=2)
    assert found == {0: pytest.approx(9 / 1.1)}
