"""From a sweep, a store and a place to run to a finished launch.

The command line and the Python API both come through here, so that a launch from a notebook and
one from a terminal are the same thing.
"""

from dataclasses import dataclass
from typing import Any

from orchestrator.driver import LaunchOptions, run_sweep
from orchestrator.errors import ResourcesError, UsageError
from orchestrator.executor import Executor
from orchestrator.grid import Resources, Sweep
from orchestrator.inline import InlineExecutor
from orchestrator.progress import Listener
from orchestrator.remaining import device_matches
from orchestrator.store import Store
from orchestrator.summary import Summary


@dataclass(frozen=True, kw_only=True)
class Where:
    """Where evaluations run; with nothing given, the cluster that is running, else here."""

    inline: bool = False
    """In this process, without Ray."""
    local: bool = False
    """On a Ray of its own on this machine."""
    address: str | None = None
    """On the Ray cluster at this address; `auto` finds the one this machine belongs to."""

    def __post_init__(self) -> None:
        given = [
            name
            for name, value in (
                ("--inline", self.inline),
                ("--local", self.local),
                ("--address", self.address is not None),
            )
            if value
        ]
        if len(given) > 1:
            raise UsageError(f"{' and '.join(given)} exclude each other; give one of them")


def launch_sweep(
    sweep: Sweep, store: Store, where: Where, options: LaunchOptions, listener: Listener
) -> Summary:
    """Run what is left of a sweep. Raises `ResourcesError` before anything is started."""
    return run_sweep(sweep, store, _executor(sweep, store, where), options, listener)


def _executor(sweep: Sweep, store: Store, where: Where) -> Executor:
    if where.inline:
        return InlineExecutor(options=_inline_options(sweep.resources, store))
    raise UsageError("only --inline yet")


def _inline_options(resources: Resources, store: Store) -> dict[str, Any]:
    import torch  # only here: a launch on a cluster needs no torch on this machine

    name = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    if resources.gpus and name is None:
        message = "the grid asks for a GPU and this machine has none; run on its CPU with"
        raise ResourcesError(f"{message} --set resources.gpus=0")
    if resources.accelerator and not device_matches(name, resources.accelerator):
        message = f"the grid asks for accelerator {resources.accelerator} and this machine has"
        raise ResourcesError(f"{message} {name or 'no GPU'}; change resources.accelerator")
    return {
        "device": "cpu" if resources.gpus == 0 else "auto",
        "num_threads": resources.cpus,
        "store_tokens": store.uri,
    }
