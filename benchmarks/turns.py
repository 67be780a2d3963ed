"""Opponents that take turns, so that a drift of the machine's speed hits all of them."""

import statistics
from collections.abc import Mapping, Sequence

import torch

from workers.latency.timing import Step, timed_steps

Times = dict[str, list[float]]
"""Per way, the median step of each round, in milliseconds."""


def take_turns(ways: Mapping[str, Step], steps: int, rounds: int, device: torch.device) -> Times:
    """Run every way for `steps` steps per round, after five untimed ones."""
    for step in ways.values():
        timed_steps(step, 5, device)
    taken: Times = {name: [] for name in ways}
    for _ in range(rounds):
        for name, step in ways.items():
            taken[name].append(statistics.median(timed_steps(step, steps, device).steps_ms))
    return taken


def ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """Return the median over the rounds of how many times longer one took."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))
