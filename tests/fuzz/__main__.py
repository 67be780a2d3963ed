"""Run the fuzz in full and print what was tried: `python -m tests.fuzz [--seed N] [KIND…]`."""

import argparse
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import click

from tests.fuzz import conditions, grids, stores, texts


@dataclass(frozen=True)
class Fuzzed:
    """One kind of random input."""

    check: Callable[[int, Path], str]
    """Takes a seed and an empty folder; returns a word for what was made, or fails."""
    few: int
    """Seeds of the test suite."""
    many: int
    """Seeds of a full run."""


FUZZED = {
    "grids": Fuzzed(grids.check, 400, 10_000),
    "texts": Fuzzed(texts.check, 150, 2_000),
    "stores": Fuzzed(stores.check, 30, 1_000),
    "conditions": Fuzzed(conditions.check, 80, 500),
}


def run_seeds(
    check: Callable[[int, Path], str], seeds: Iterable[int], folder: Path
) -> Counter[str]:
    """Check every seed in an empty folder; a failure names its seed."""
    outcomes: Counter[str] = Counter()
    for seed in seeds:
        own = folder / str(seed)
        own.mkdir()
        try:
            outcomes[check(seed, own)] += 1
        except Exception as error:
            raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error
        shutil.rmtree(own)
    return outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", choices=[[], *FUZZED], default=[])
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    given = parser.parse_args()
    for kind in given.kinds or FUZZED:
        fuzzed, start = FUZZED[kind], time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            seeds = range(given.seed, given.seed + fuzzed.many)
            outcomes = run_seeds(fuzzed.check, seeds, Path(folder))
        counts = ", ".join(f"{count:,} {word}" for word, count in sorted(outcomes.items()))
        click.echo(f"{kind}: {fuzzed.many:,} in {time.monotonic() - start:.0f} s: {counts}")


if __name__ == "__main__":
    main()
