"""What the device is, its memory and versions; a value that is unknown is null."""

import importlib.metadata
import os
import platform
import socket
from pathlib import Path
from typing import Any

import torch


def device_columns(device: torch.device) -> dict[str, Any]:
    """Return the columns that name the device an evaluation ran on."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        uuid = str(getattr(properties, "uuid", "")) or None
        return {
            "device_name": properties.name,
            "device_uuid": uuid,
            "device_shared": _shared(uuid),
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


def _shared(uuid: str | None) -> bool | None:
    """Tell whether another process computes on this GPU; None where NVML cannot be asked."""
    try:
        import pynvml  # optional: comes with the NVIDIA tools, not with us
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{str(uuid).removeprefix('GPU-')}")
        processes = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
        return any(process.pid != os.getpid() for process in processes)
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
