"""Benchmarks of the evaluation engine, each a ratio measured in one run.

    python -m benchmarks.engine nll         parallel pass against the plain token loop
    python -m benchmarks.engine decode      ring buffer against concatenate-and-re-rotate
    python -m benchmarks.engine recompute   recompute against streaming, per decoded token
    python -m benchmarks.engine memory      peak memory of a long document against a short one

They need neither ray nor datasets. Opponents take turns, so that a drift of the machine's speed
hits both; medians are reported.
"""

import json
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping

import click
import torch

from benchmarks.concatenate import ConcatenateStepper
from benchmarks.machine import describe, measured_machine
from benchmarks.plain_loop import Cache, PlainNeoX
from workers.capture import recorded
from workers.loading import LoadedModel, load
from workers.metering import Step, timed_steps
from workers.quality import CHUNK, state_before, stream_nll, token_nll
from workers.ring import RingPass
from workers.spec import EvalSpec
from workers.steppers import Recordable, RingStepper, WindowStepper
from workers.visibility import Visibility


@click.group(help=__doc__)
@click.option("--threads", default=1, show_default=True, help="Threads of a CPU run.")
def main(threads: int) -> None:
    """Run one benchmark."""
    torch.set_num_threads(threads)


@main.command()
@click.option("--model", default="random:pythia-70m", show_default=True)
@click.option("--n-sink", default=4, show_default=True)
@click.option("--window-size", default=1024, show_default=True)
@click.option("--tokens", default=4096, show_default=True, help="Length of the parallel pass.")
@click.option("--steps", default=60, show_default=True, help="Steps of the loop per round.")
@click.option("--rounds", default=5, show_default=True)
def nll(model: str, n_sink: int, window_size: int, tokens: int, steps: int, rounds: int) -> None:
    """Milliseconds per scored token: the parallel pass against the plain token loop."""
    loaded = _load(model)
    visibility = Visibility(n_sink, window_size)
    ids = _ids(loaded, tokens + 1)
    loop = _warm_loop(loaded, ids, visibility, "ring")

    def parallel() -> None:
        for _ in stream_nll(loaded.model, loaded.rotary, ids, visibility, CHUNK):
            pass

    def looped() -> None:
        token = int(ids[loop.position])
        logits = loop.decoder.step(token, loop.position)
        token_nll(logits[None], ids[loop.position + 1 : loop.position + 2])
        loop.position += 1

    pairs = [
        (
            timed_steps(parallel, 1, loaded.device).total_ms / tokens,
            statistics.median(timed_steps(looped, steps, loaded.device).steps_ms),
        )
        for _ in range(rounds)
    ]
    weights = sum(p.numel() * p.element_size() for p in loaded.model.parameters())
    weights -= loaded.model.get_input_embeddings().weight.nbytes  # one row of it is read
    machine = measured_machine(loaded.device, loaded.dtype, 2048)
    floor_ms = weights / machine.product_gb_per_s / 1e6
    _report(
        "nll",
        machine=describe(machine),
        parallel_ms_per_token=_median(pair[0] for pair in pairs),
        loop_ms_per_token=_median(pair[1] for pair in pairs),
        ratio=_median(pair[1] / pair[0] for pair in pairs),
        loop_over_one_reading_of_the_weights=_median(pair[1] for pair in pairs) / floor_ms,
    )


@main.command()
@click.option("--model", default="demo", show_default=True)
@click.option("--n-sink", default=4, show_default=True)
@click.option("--window-size", default=508, show_default=True)
@click.option("--steps", default=200, show_default=True)
@click.option("--rounds", default=5, show_default=True)
def decode(model: str, n_sink: int, window_size: int, steps: int, rounds: int) -> None:
    """Milliseconds per decoded token: ring buffer against concatenate-and-re-rotate."""
    loaded = _load(model)
    visibility = Visibility(n_sink, window_size)
    n_steps = rounds * steps + 5
    ids = _ids(loaded, window_size + n_steps + 400)
    loop = _warm_loop(loaded, ids, visibility, "concatenate")
    start = loop.position

    def plain() -> None:
        loop.decoder.step(int(ids[loop.position]), loop.position)
        loop.position += 1

    concatenating = [_concatenating(loaded, ids, visibility, start) for _ in range(2)]
    rings = [_ring_stepper(loaded, ids, visibility, range(start, len(ids))) for _ in range(2)]
    ways = {
        "ring": _recorded(rings[0], loaded.device, n_steps),
        "ring_unrecorded": rings[1].step,
        "concatenate": concatenating[0].step,
        "concatenate_recorded": _recorded(concatenating[1], loaded.device, n_steps),
        "concatenate_in_plain_torch": plain,
    }
    taken = _turns(ways, steps, rounds, loaded.device)
    _report(
        "decode",
        **{f"{name}_ms": _median(times) for name, times in taken.items()},
        **{f"{name}_over_ring": _ratio(taken[name], taken["ring"]) for name in ways},
    )


@main.command()
@click.option("--model", default="demo", show_default=True)
@click.option("--n-sink", default=4, show_default=True)
@click.option("--window-size", default=124, show_default=True)
@click.option("--steps", default=20, show_default=True)
@click.option("--rounds", default=5, show_default=True)
def recompute(model: str, n_sink: int, window_size: int, steps: int, rounds: int) -> None:
    """Milliseconds per decoded token: recompute against streaming at the same budget."""
    loaded = _load(model)
    visibility = Visibility(n_sink, window_size)
    budget = n_sink + window_size
    span = range(budget + 1, budget + 1 + rounds * (steps + 5))
    ids = _ids(loaded, span.stop + 1)
    ring = _ring_stepper(loaded, ids, visibility, span)
    window = WindowStepper(loaded, ids, span, budget)
    ways = {
        "streaming": _recorded(ring, loaded.device, len(span)),
        "recompute": _recorded(window, loaded.device, len(span)),
    }
    taken = _turns(ways, steps, rounds, loaded.device)
    _report(
        "recompute",
        streaming_ms=_median(taken["streaming"]),
        recompute_ms=_median(taken["recompute"]),
        ratio=_ratio(taken["recompute"], taken["streaming"]),
    )


@main.command()
@click.option("--short", default=50_000, show_default=True, help="Tokens of the short document.")
@click.option("--long", default=1_000_000, show_default=True, help="Tokens of the long document.")
def memory(short: int, long: int) -> None:
    """Peak resident memory of the quality pass, from token ids, each in its own process."""
    short_mb, long_mb = _peak_of(short), _peak_of(long)
    _report("memory", short_mb=short_mb, long_mb=long_mb, ratio=long_mb / short_mb)


@main.command(hidden=True)
@click.argument("tokens", type=int)
def peak(tokens: int) -> None:
    """Score one document of this many random tokens and print the peak in MB."""
    loaded = _load("demo")
    ids = _ids(loaded, tokens)
    for _ in stream_nll(loaded.model, loaded.rotary, ids, Visibility(4, 124)):
        pass
    click.echo(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def _peak_of(tokens: int) -> float:
    command = [sys.executable, "-m", "benchmarks.engine", "peak", str(tokens)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


class _Loop:
    """A plain loop and the position it has reached."""

    def __init__(self, decoder: PlainNeoX) -> None:
        self.decoder, self.position = decoder, 0


def _warm_loop(loaded: LoadedModel, ids: torch.Tensor, at: Visibility, cache: Cache) -> _Loop:
    """Return a loop whose cache is full, so that every timed step evicts."""
    assert at.window_size is not None
    loop = _Loop(PlainNeoX(loaded.model, at.n_sink, at.window_size, cache))
    while loop.position <= at.n_sink + at.window_size + 1:
        loop.decoder.step(int(ids[loop.position]), loop.position)
        loop.position += 1
    return loop


def _ring_stepper(
    loaded: LoadedModel, ids: torch.Tensor, visibility: Visibility, span: range
) -> RingStepper:
    assert loaded.rotary is not None
    state = state_before(loaded.model, loaded.rotary, ids[: span.start], visibility)
    ring = RingPass(loaded.rotary, visibility, state, span, loaded.device)
    return RingStepper(loaded, ids, span, ring)


def _concatenating(
    loaded: LoadedModel, ids: torch.Tensor, visibility: Visibility, start: int
) -> ConcatenateStepper:
    """Return a stepper of the usual kind whose cache is full."""
    stepper = ConcatenateStepper(loaded, ids, visibility)
    for _ in range(start):
        stepper.step()
    stepper.mark()
    return stepper


def _recorded(stepper: Recordable, device: torch.device, n_steps: int) -> Step:
    record = recorded(stepper, device, n_steps)
    if record is None:
        raise click.ClickException("the step could not be recorded")
    return record.step


def _turns(
    ways: Mapping[str, Step], steps: int, rounds: int, device: torch.device
) -> dict[str, list[float]]:
    """Return the median step of each way per round, in milliseconds; they take turns."""
    for step in ways.values():
        timed_steps(step, 5, device)
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, step in ways.items():
            taken[name].append(statistics.median(timed_steps(step, steps, device).steps_ms))
    return taken


def _ratio(slow: list[float], fast: list[float]) -> float:
    """Return the median over the rounds of how many times longer one took."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def _load(model: str) -> LoadedModel:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = "bfloat16" if device.type == "cuda" else "float32"
    spec = EvalSpec(model=model, dataset="random", max_tokens=2, method="streaming", dtype=dtype)
    return load(spec, device)


def _ids(loaded: LoadedModel, n_tokens: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(loaded.vocab_size, (n_tokens,), generator=generator)
    return ids.to(loaded.device)


def _median(values: Iterable[float]) -> float:
    return statistics.median(values)


def _report(name: str, **figures: float | str) -> None:
    rounded = {k: round(v, 3) if isinstance(v, float) else v for k, v in figures.items()}
    click.echo(json.dumps({"benchmark": name, "torch": torch.__version__, **rounded}, indent=2))


if __name__ == "__main__":
    main()
