"""Benchmarks of the evaluation engine, each a ratio measured in one run.

    python -m benchmarks.engine nll         parallel pass against the plain token loop
    python -m benchmarks.engine decode      ring buffer against concatenate-and-re-rotate
    python -m benchmarks.engine recompute   recompute against streaming, per decoded token
    python -m benchmarks.engine precision   half precision against float32 on real text
    python -m benchmarks.engine memory      peak memory of a long document against a short one

They need neither ray nor datasets. Opponents take turns, so that a drift of the machine's speed
hits both; medians are reported, and what the device could do at most.
"""

import json
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import click
import torch

from benchmarks.machine import Machine, describe, measured_machine
from benchmarks.opponents import (
    PlainLoop,
    concatenating,
    placed_model,
    random_ids,
    ring,
)
from benchmarks.turns import ratio, take_turns
from benchmarks.work import cache_bytes, operations, weight_bytes
from workers.attention.fused import kernel_for
from workers.attention.visibility import Visibility
from workers.contract.spec import EvalSpec
from workers.device import free_memory_bytes
from workers.latency.replay import recorded
from workers.latency.steppers import WindowStepper
from workers.latency.timing import timed_steps
from workers.models.loading import LoadedModel, load_model
from workers.quality.chunks import first_chunk
from workers.quality.nll import stream_nll, token_nll
from workers.texts.tokens import tokenised_documents


@click.group(help=__doc__)
@click.option("--threads", default=1, show_default=True, help="Threads of a CPU run.")
def main(threads: int) -> None:
    """Run one benchmark."""
    torch.set_num_threads(threads)


def options(
    *, model: str, window_size: int, steps: int
) -> Callable[[Callable[..., None]], click.Command]:
    """Make a command with the options that most benchmarks share."""

    def command(benchmark: Callable[..., None]) -> click.Command:
        for option in (
            click.option("--model", default=model, show_default=True),
            click.option("--dtype", help="By default bfloat16 on a GPU, float32 on a CPU."),
            click.option("--n-sink", default=4, show_default=True),
            click.option("--window-size", default=window_size, show_default=True),
            click.option("--steps", default=steps, show_default=True, help="Per round."),
            click.option("--rounds", default=5, show_default=True),
        ):
            benchmark = option(benchmark)
        return main.command()(benchmark)

    return command


@options(model="random:pythia-70m", window_size=1024, steps=60)
@click.option("--tokens", default=4096, show_default=True, help="Length of the parallel pass.")
def nll(
    model: str,
    dtype: str | None,
    n_sink: int,
    window_size: int,
    steps: int,
    rounds: int,
    tokens: int,
) -> None:
    """Milliseconds per scored token: the parallel pass against the plain token loop."""
    loaded = placed_model(model, dtype)
    visibility = Visibility(n_sink, window_size)
    ids = random_ids(loaded, tokens + 1)
    loop = PlainLoop(loaded, ids, visibility, "ring")
    chunk = first_chunk(loaded, visibility, tokens, free_memory_bytes(loaded.device))

    def parallel() -> None:
        for _ in stream_nll(loaded.model, loaded.rotary, ids, visibility, chunk):
            pass

    def looped() -> None:
        token_nll(loop.step()[None], ids[loop.position : loop.position + 1])

    parallel()
    pairs = [
        (
            timed_steps(parallel, 1, loaded.device).total_ms / tokens,
            statistics.median(timed_steps(looped, steps, loaded.device).steps_ms),
        )
        for _ in range(rounds)
    ]
    parallel_ms, loop_ms = (list(times) for times in zip(*pairs, strict=True))
    machine = _machine(loaded)
    operations_per_token = operations(
        loaded, queries=1, logits=1, keys=_mean_keys(visibility, tokens)
    )
    _report(
        "nll",
        machine=describe(machine),
        kernel=_kernel_name(loaded),
        chunk=chunk,
        parallel_ms_per_token=statistics.median(parallel_ms),
        parallel_tokens_per_second=1e3 / statistics.median(parallel_ms),
        parallel_share_of_matrix_rate=_share(
            operations_per_token, statistics.median(parallel_ms), machine
        ),
        loop_ms_per_token=statistics.median(loop_ms),
        ratio=ratio(loop_ms, parallel_ms),
        loop_over_one_reading_of_the_weights=statistics.median(loop_ms)
        / _reading_ms(weight_bytes(loaded), machine),
    )


@options(model="demo", window_size=508, steps=200)
def decode(
    model: str, dtype: str | None, n_sink: int, window_size: int, steps: int, rounds: int
) -> None:
    """Milliseconds per decoded token: ring buffer against concatenate-and-re-rotate."""
    loaded = placed_model(model, dtype)
    visibility = Visibility(n_sink, window_size)
    start, n_steps = n_sink + window_size + 2, rounds * steps + 5
    ids = random_ids(loaded, start + n_steps + 1)
    span, device = range(start, start + n_steps), loaded.device
    usual = [concatenating(loaded, ids, visibility, start) for _ in range(2)]
    ours = recorded(ring(loaded, ids, visibility, span), device, n_steps)
    theirs = recorded(usual[1], device, n_steps)
    ways: dict[str, Callable[[], Any]] = {
        "ring": ours.step if ours else ring(loaded, ids, visibility, span).step,
        "ring_unrecorded": ring(loaded, ids, visibility, span).step,
        "concatenate": usual[0].step,
    }
    if theirs:
        ways["concatenate_recorded"] = theirs.step
    if loaded.model.config.model_type == "gpt_neox":
        ways["concatenate_in_plain_torch"] = PlainLoop(loaded, ids, visibility, "concatenate").step
    taken, machine = take_turns(ways, steps, rounds, device), _machine(loaded)
    moved = weight_bytes(loaded) + cache_bytes(loaded, n_sink + window_size + 1)
    ring_ms = statistics.median(taken["ring"])
    _report(
        "decode",
        machine=describe(machine),
        ring_recorded=ours is not None,
        **{f"{name}_ms": statistics.median(times) for name, times in taken.items()},
        **{f"{name}_over_ring": ratio(times, taken["ring"]) for name, times in taken.items()},
        megabytes_per_step=moved / 1e6,
        ring_over_one_reading_of_weights_and_cache=ring_ms / _reading_ms(moved, machine),
    )


@options(model="demo", window_size=124, steps=20)
def recompute(
    model: str, dtype: str | None, n_sink: int, window_size: int, steps: int, rounds: int
) -> None:
    """Milliseconds per decoded token: recompute against streaming at the same budget."""
    loaded = placed_model(model, dtype)
    budget, n_steps = n_sink + window_size, rounds * steps + 5
    span = range(budget + 1, budget + 1 + n_steps)
    ids, device = random_ids(loaded, span.stop + 1), loaded.device
    streaming = ring(loaded, ids, Visibility(n_sink, window_size), span)
    window = WindowStepper(loaded, ids, span, budget)
    records = [recorded(stepper, device, n_steps) for stepper in (streaming, window)]
    both = all(records)  # one alone would be favoured
    steps_of = [record.step for record in records if record] if both else []
    ways = dict(
        zip(
            ("streaming", "recompute"),
            steps_of or [streaming.step, window.step],
            strict=True,
        )
    )
    taken, machine = take_turns(ways, steps, rounds, device), _machine(loaded)
    recompute_ms = statistics.median(taken["recompute"])
    work = operations(loaded, queries=budget + 1, logits=1, keys=(budget + 2) / 2)
    _report(
        "recompute",
        machine=describe(machine),
        both_recorded=both,
        streaming_ms=statistics.median(taken["streaming"]),
        recompute_ms=recompute_ms,
        ratio=ratio(taken["recompute"], taken["streaming"]),
        gigaoperations_per_window=work / 1e9,
        recompute_share_of_matrix_rate=_share(work, recompute_ms, machine),
    )


@main.command()
@click.option("--dataset", default="pydoc", show_default=True)
@click.option("--tokens", default=20_000, show_default=True)
@click.option("--model", default="demo", show_default=True)
def precision(dataset: str, tokens: int, model: str) -> None:
    """Mean loss of a trained model on real text in half precision, less that in float32."""
    spec = EvalSpec(model=model, dataset=dataset, method="streaming", n_sink=4, window_size=124)
    spec = replace(spec, max_tokens=tokens)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    losses = {}
    dtypes = ("float32", "bfloat16", "float16")
    for dtype in dtypes:
        loaded = load_model(replace(spec, dtype=dtype), device)
        ids = tokenised_documents(spec, loaded)[0].ids.to(device)
        pieces = stream_nll(loaded.model, loaded.rotary, ids, Visibility(4, 124))
        losses[dtype] = torch.cat([piece.nll.double() for piece in pieces])
    exact = losses["float32"]
    differences = {f"{d}_less_float32_nats": float((losses[d] - exact).mean()) for d in dtypes[1:]}
    _report("precision", device=str(device), model=model, n_tokens=len(exact), **differences)


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
    loaded = placed_model("demo", "float32")
    ids = random_ids(loaded, tokens)
    for _ in stream_nll(loaded.model, loaded.rotary, ids, Visibility(4, 124)):
        pass
    click.echo(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def _peak_of(tokens: int) -> float:
    command = [sys.executable, "-m", "benchmarks.engine", "peak", str(tokens)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _kernel_name(loaded: LoadedModel) -> str:
    groups = loaded.heads // loaded.kv_heads
    kernel = kernel_for(loaded.device, loaded.dtype, loaded.head_dim, groups)
    return "none" if kernel is None else kernel.__name__


def _machine(loaded: LoadedModel) -> Machine:
    return measured_machine(
        loaded.device, loaded.dtype, 8192 if loaded.device.type == "cuda" else 2048
    )


def _mean_keys(visibility: Visibility, n_queries: int) -> float:
    """Return how many keys a query sees on average."""
    assert visibility.budget is not None
    return statistics.fmean(min(query, visibility.budget) + 1 for query in range(n_queries))


def _reading_ms(n_bytes: int, machine: Machine) -> float:
    return n_bytes / machine.product_gb_per_s / 1e6


def _share(n_operations: float, milliseconds: float, machine: Machine) -> float:
    return n_operations / milliseconds / 1e6 / machine.matrix_gflops


def _report(name: str, **figures: float | str) -> None:
    rounded = {k: round(v, 6) if isinstance(v, float) else v for k, v in figures.items()}
    click.echo(json.dumps({"benchmark": name, "torch": torch.__version__, **rounded}, indent=2))


if __name__ == "__main__":
    main()
