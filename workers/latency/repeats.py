"""The repeats of a decode: those that nobody disturbed, or the best that could be had.

A disturbed repeat is run again after a little while, until as many as wanted were quiet or three
times as many have been run. What is kept then says how disturbed it was.
"""

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from workers.contract.events import Progress
from workers.contract.spec import EvalSpec
from workers.latency.disturbance import Disturbance, Watch
from workers.latency.steppers import Stepper
from workers.latency.timing import Timing, join_timings, timed_once, timed_steps

MOST_RUNS = 3
"""Repeats that are run for one that is wanted, at most."""
LONGEST_PAUSE_S = 1.0
"""Wait after a disturbed repeat: as long as it took, at most so long."""
SEGMENT_MS = 5_000
"""A repeat that takes longer is timed in pieces of about this length, to report between them."""


@dataclass(frozen=True)
class DecodePlan:
    """Which queries are run: `warmup` untimed ones, then `timed`."""

    first: int
    warmup: int
    timed: int

    @property
    def span(self) -> range:
        """All queries that are run."""
        return range(self.first, self.first + self.warmup + self.timed)


def plan_decode(n_tokens: int, spec: EvalSpec) -> DecodePlan | None:
    """Choose the last queries of a document of `n_tokens`; None if it is too short."""
    first = n_tokens - 1 - spec.decode_tokens - spec.warmup_tokens
    return None if first < 0 else DecodePlan(first, spec.warmup_tokens, spec.decode_tokens)


@dataclass(frozen=True)
class Repeat:
    """One run over the timed steps."""

    timing: Timing
    disturbance: Disturbance


@dataclass(frozen=True)
class Repeats:
    """The repeats that count, and how many were run to have them."""

    kept: Sequence[Repeat]
    n_run: int

    def columns(self) -> dict[str, Any]:
        """Return how disturbed the times of the row are; a reason only if they cannot be used."""
        together = Disturbance()
        for repeat in self.kept:
            together |= repeat.disturbance
        worst = max(self.kept, key=_noise)
        return {
            "timing_noise": together.noise,
            "timing_disturbed": "; ".join(worst.disturbance.reasons) or None,
            "timing_repeats": self.n_run,
        }


@dataclass(frozen=True, kw_only=True)
class Decode:
    """Steps that can be run again and again on one device."""

    stepper: Stepper
    plan: DecodePlan
    spec: EvalSpec
    device: torch.device
    host_bound: bool
    """The host runs every step; False for the replays of a CUDA graph."""
    segment_ms: float = SEGMENT_MS
    watch: Callable[..., Watch] = Watch
    """Called as `Watch` is when a repeat begins."""

    def undisturbed(self) -> Generator[Progress, None, Repeats]:
        """Run as many repeats as the spec wants that nobody disturbed; yields progress."""
        run: list[Repeat] = []
        wanted = self.spec.repeats
        while _n_quiet(run) < wanted and len(run) < MOST_RUNS * wanted:
            if run and run[-1].disturbance.reasons:
                time.sleep(min(run[-1].timing.total_ms / 1e3, LONGEST_PAUSE_S))
            run.append((yield from self._repeat(_n_quiet(run) + 1)))
        return Repeats(sorted(run, key=_noise)[:wanted], len(run))

    def _repeat(self, number: int) -> Generator[Progress, None, Repeat]:
        """Run the warm-up and the timed steps once."""
        self.stepper.reset()
        warmup_ms = timed_once(self._warm_up, self.device)
        size = max(1, round(self.segment_ms * self.plan.warmup / warmup_ms)) if warmup_ms else 1
        pieces, left = [], self.plan.timed
        watch = self.watch(self.device, host_bound=self.host_bound)
        while left:
            n_steps = min(size, left) if self.plan.warmup else left
            pieces.append(timed_steps(self.stepper.step, n_steps, self.device))
            left -= n_steps
            if left:
                yield decoding(self.plan, self.spec, repeat=number, timed=self.plan.timed - left)
        disturbance = watch.disturbance()
        yield decoding(self.plan, self.spec, repeat=number, timed=self.plan.timed)
        return Repeat(join_timings(pieces), disturbance)

    def _warm_up(self) -> None:
        for _ in range(self.plan.warmup):
            self.stepper.step()


def decoding(plan: DecodePlan, spec: EvalSpec, *, repeat: int, timed: int) -> Progress:
    """Return the progress of a decode that has timed so many steps of this repeat."""
    return Progress(
        phase="latency",
        documents_done=0,
        documents_total=0,
        tokens_done=(repeat - 1) * plan.timed + timed,
        tokens_total=spec.repeats * plan.timed,
        perplexity=None,
        repeat=repeat,
        repeats=spec.repeats,
    )


def _n_quiet(run: Sequence[Repeat]) -> int:
    return sum(not repeat.disturbance.reasons for repeat in run)


def _noise(repeat: Repeat) -> tuple[bool, float]:
    """Return what disturbed repeats are compared by: a reason first, then the noise."""
    return bool(repeat.disturbance.reasons), repeat.disturbance.noise or 0.0
