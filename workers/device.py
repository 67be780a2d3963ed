"""What the device is, its memory and versions; a value that is unknown is null."""

import importlib.metadata
import os
import platform
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


def device_columns(device: torch.device) -> dict[str, Any]:
    """Return the columns that name the device an evaluation ran on."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        uuid = str(getattr(properties, "uuid", "")) or None
        handle = _nvml_handle(device)
        # None where NVML cannot be asked.
        others = None if handle is None else _other_processes(handle)
        return {
            "device_name": properties.name,
            "device_uuid": uuid,
            "device_shared": None if others is None else bool(others),
            "num_threads": torch.get_num_threads(),
        }
    return {"device_name": cpu_name(), "num_threads": torch.get_num_threads()}


def software_columns() -> dict[str, Any]:
    """Return versions and the identity of this process."""
    return {
        "hostname": socket.gethostname(),
        "pid": os.getpid(),
        "torch_version": torch.__version__,
        "transformers_version": _version("transformers"),
        "ray_version": _version("ray"),
        "python_version": platform.python_version(),
        "cuda_version": torch.version.cuda,
    }


def cpu_name() -> str:
    """Return the processor's marketing name, or its architecture where there is none."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


@dataclass(frozen=True, kw_only=True)
class GpuState:
    """What NVML tells about a GPU at one moment; None is what it does not tell here."""

    read_at_us: int
    """Microseconds since the epoch, as NVML dates its samples."""
    clock_mhz: int | None
    slowed_by: tuple[str, ...]
    """Reasons for which the device runs below its clock; a power cap is how it is meant to run."""
    others_share: float | None
    """Share of the device's time that other processes took since the state before."""


_SLOWED_BY = {
    "HwSlowdown": "hardware slowdown",
    "SwThermalSlowdown": "heat (driver)",
    "HwThermalSlowdown": "heat (hardware)",
    "HwPowerBrakeSlowdown": "power brake",
}


def gpu_state(device: torch.device, *, since: GpuState | None) -> GpuState | None:
    """Ask NVML about a GPU; None on a CPU and where NVML cannot be asked."""
    if (handle := _nvml_handle(device)) is None:
        return None
    import pynvml

    read_at_us = time.time_ns() // 1000
    clock_mhz = _asked(pynvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_SM)
    bits = _asked(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons, handle) or 0
    named = {
        getattr(pynvml, f"nvmlClocksEventReason{name}"): said for name, said in _SLOWED_BY.items()
    }
    return GpuState(
        read_at_us=read_at_us,
        clock_mhz=clock_mhz,
        slowed_by=tuple(said for bit, said in named.items() if bits & bit),
        others_share=None if since is None else _others_share(handle, since.read_at_us),
    )


def _others_share(handle: Any, since_us: int) -> float | None:
    """Return the share of the multiprocessors' time that others took, from NVML's samples."""
    import pynvml

    others = _other_processes(handle)
    if not others:
        return None if others is None else 0.0
    samples = _asked(pynvml.nvmlDeviceGetProcessUtilization, handle, since_us)
    if samples is None:  # NVML does not sample on this device, or has no sample that young
        return None
    taken: dict[int, list[int]] = {}
    for sample in samples:
        if sample.pid in others:
            taken.setdefault(sample.pid, []).append(sample.smUtil)
    return min(1.0, sum(sum(used) / len(used) for used in taken.values()) / 100)


def _other_processes(handle: Any) -> frozenset[int] | None:
    """Return the processes that compute on a GPU, without this one.

    In a container NVML may know this process by another number: one that is unknown is then ours.
    """
    import pynvml

    processes = _asked(pynvml.nvmlDeviceGetComputeRunningProcesses, handle)
    if processes is None:
        return None
    found = {process.pid for process in processes}
    if os.getpid() in found or len(found) != 1:
        return frozenset(found - {os.getpid()})
    return frozenset() if torch.cuda.is_initialized() else frozenset(found)  # type: ignore[no-untyped-call]


def _nvml_handle(device: torch.device) -> Any | None:
    if device.type != "cuda":
        return None
    try:
        import pynvml  # evaluation works without it: a GPU machine may have little more than torch
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:  # no driver
        return None
    uuid = str(getattr(torch.cuda.get_device_properties(device), "uuid", ""))
    return _asked(pynvml.nvmlDeviceGetHandleByUUID, f"GPU-{uuid.removeprefix('GPU-')}")


def _asked(question: Callable[..., Any], *arguments: Any) -> Any:
    """Return NVML's answer; None where this device or driver has none."""
    import pynvml

    try:
        return question(*arguments)
    except pynvml.NVMLError:
        return None


def why_no_gpu() -> str | None:
    """Return why torch cannot compute on a GPU here; None if it can."""
    if torch.cuda.is_available():
        try:
            # A kernel has to run: a driver that is too old is noticed only here.
            torch.ones(8, device="cuda").sum().item()
        except Exception as error:  # whatever CUDA raises
            reason = (str(error).splitlines() or [""])[0]
            return f"the GPU cannot compute with torch {torch.__version__}: {reason}"
        return None
    if torch.version.cuda is None and getattr(torch.version, "hip", None) is None:
        return f"torch {torch.__version__} is a CPU build; install one for CUDA"
    if not Path("/proc/driver/nvidia/version").exists():
        return "no NVIDIA driver is loaded on this machine"
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1", "NoDevFiles"):
        return "CUDA_VISIBLE_DEVICES hides every GPU"
    return (
        f"torch {torch.__version__}, built for CUDA {torch.version.cuda}, sees no GPU: the driver "
        "is too old for it, or the GPU is not handed to this process (see `nvidia-smi`)"
    )


def synchronise(device: torch.device) -> None:
    """Wait until the device has nothing left to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def reset_peak_memory(device: torch.device) -> None:
    """Start a new peak."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory_bytes(device: torch.device) -> int | None:
    """Return the largest memory allocated since the reset; None on a CPU (not measured)."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def free_memory_bytes(device: torch.device) -> int | None:
    """Return what the device has left; None on a CPU, whose memory is not ours to fill."""
    return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else None
