"""What the machine can do: matrix rate and memory bandwidth, the floors of every benchmark."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from workers.device import cpu_name, synchronise


@dataclass(frozen=True)
class Machine:
    """Measured limits of one device in one dtype."""

    device: str
    threads: int
    matrix_gflops: float
    read_gb_per_s: float
    """Adding up a large vector."""
    product_gb_per_s: float
    """Reading a large matrix for one matrix-vector product, as a decode step reads weights."""


def measured_machine(device: torch.device, dtype: torch.dtype, size: int) -> Machine:
    """Measure square matrix products of `size` and the reading of 256 MB (CPU) or 4 GB (CUDA)."""
    a = torch.randn(size, size, device=device).to(dtype)
    square_s = best(lambda: a @ a, device)
    n_bytes = 2**28 if device.type == "cpu" else 2**32
    data = torch.ones(n_bytes // 4, device=device)
    read_s = best(lambda: data.sum(), device)
    matrix, vector = data.view(-1, 512).to(dtype), torch.ones(512, device=device, dtype=dtype)
    product_s = best(lambda: matrix @ vector, device)
    on_gpu = device.type == "cuda"
    return Machine(
        device=torch.cuda.get_device_name(device) if on_gpu else cpu_name(),
        threads=torch.get_num_threads(),
        matrix_gflops=2 * size**3 / square_s / 1e9,
        read_gb_per_s=n_bytes / read_s / 1e9,
        product_gb_per_s=matrix.nbytes / product_s / 1e9,
    )


def best(work: Callable[[], object], device: torch.device, repeats: int = 5) -> float:
    """Return the shortest of some timings after one warm-up, in seconds."""
    work()
    times = []
    for _ in range(repeats):
        synchronise(device)
        start = time.perf_counter()
        work()
        synchronise(device)
        times.append(time.perf_counter() - start)
    return min(times)


def describe(machine: Machine) -> str:
    """Return one line about the machine."""
    return (
        f"{machine.device}, {machine.threads} thread(s): {machine.matrix_gflops:.0f} GFLOP/s, "
        f"{machine.read_gb_per_s:.1f} GB/s added up, {machine.product_gb_per_s:.1f} GB/s in "
        "matrix-vector products"
    )
