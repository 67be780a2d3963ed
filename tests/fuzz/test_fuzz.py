"""Random inputs against slow oracles; `python -m tests.fuzz` makes many more of them."""

from pathlib import Path

import pytest

from tests.fuzz.__main__ import FUZZED, run_seeds


@pytest.mark.parametrize("kind", FUZZED)
def test_random_inputs_end_as_a_slow_oracle_says(kind: str, tmp_path: Path) -> None:
    fuzzed = FUZZED[kind]
    outcomes = run_seeds(fuzzed.check, range(fuzzed.few), tmp_path)
    assert sum(outcomes.values()) == fuzzed.few
    assert len(outcomes) > 1 or kind == "stores", "one kind of input alone was made"
