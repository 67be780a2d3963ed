"""From a sweep, a store and a place to run to a finished launch.

The command line and the Python API both come through here, so that a launch from a notebook and
one from a terminal are the same thing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from orchestrator.driver.loop import LaunchOptions, run_sweep
from orchestrator.errors import ResourcesError, UsageError
from orchestrator.executors.base import Executor
from orchestrator.executors.inline import InlineExecutor
from orchestrator.grid.load import Resources, Sweep
from orchestrator.progress.display import Listener
from orchestrator.progress.snapshot import Summary
from orchestrator.store.remaining import device_matches, find_remaining
from orchestrator.store.store import Store
from workers.threads import wait_politely


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
    if _is_nothing_left(sweep, store, options):  # then neither torch nor Ray is worth starting
        idle = InlineExecutor()
        idle.notes = ()
        return run_sweep(sweep, store, idle, options, listener)
    with _executor(sweep, store, where) as executor:
        return run_sweep(sweep, store, executor, options, listener)


def _is_nothing_left(sweep: Sweep, store: Store, options: LaunchOptions) -> bool:
    remaining = find_remaining(
        sweep, store, skip_failed=options.skip_failed, remeasure=options.remeasure
    )
    return not remaining.todo


@contextmanager
def _executor(sweep: Sweep, store: Store, where: Where) -> Iterator[Executor]:
    resources = sweep.resources
    if where.inline:
        yield InlineExecutor(options=_inline_options(resources, store))
        return
    try:
        from orchestrator.cluster.connection import connect  # only here: --inline needs no ray
        from orchestrator.executors.ray_executor import RayExecutor
    except ModuleNotFoundError as error:
        message = f"{error.name} is not installed; install it, or run with --inline"
        raise UsageError(message) from error
    device = "cpu" if resources.gpus == 0 else "auto"
    with connect(local=where.local, address=where.address) as cluster:
        yield RayExecutor(
            cluster,
            resources,
            options={"device": device, "store_tokens": store.uri},
            log_folder=store.log_folder,
            timed=any("latency" in planned.spec.measure for planned in sweep.evaluations),
        )


def _inline_options(resources: Resources, store: Store) -> dict[str, Any]:
    wait_politely()
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
