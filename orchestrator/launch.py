"""From a sweep, a store and a place to run to a finished launch.

The command line and the Python API both come through here, so that a launch from a notebook and
one from a terminal are the same thing.
"""

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator.driver.loop import LaunchOptions, run_sweep, what_is_left
from orchestrator.driver.probed_times import ProbedTimes, one_of_each_kind
from orchestrator.driver.probing import EVALUATOR as SPEED_PROBE
from orchestrator.driver.probing import try_out
from orchestrator.errors import UsageError
from orchestrator.executors.base import Executor
from orchestrator.executors.inline import InlineExecutor, options_for
from orchestrator.progress.snapshot import Listener, Snapshot
from orchestrator.reports.sizes import unavailable_here
from orchestrator.store.store import Store
from orchestrator.sweep import Sweep
from orchestrator.words import counted
from workers.contract.events import DEFAULT_EVALUATOR
from workers.contract.spec import EvalSpec

ROOT = Path(__file__).resolve().parent.parent
_TIMEOUT = 10.0


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

    def is_here(self) -> bool:
        """Tell whether this machine's cache of the Hub is the one that counts."""
        return (
            self.inline or self.local or (self.address is None and "RAY_ADDRESS" not in os.environ)
        )


def launch_sweep(
    sweep: Sweep, store: Store, where: Where, options: LaunchOptions, listener: Listener
) -> Snapshot:
    """Run what is left of a sweep.

    Raises `ResourcesError`, and `UsageError` if the Hub gives nothing that could be run, before
    anything is started.
    """
    remaining = what_is_left(sweep, store, options)
    if not remaining.todo:  # then neither torch nor Ray is worth starting
        idle = InlineExecutor()
        idle.notes = ()
        return run_sweep(sweep, store, idle, options, listener, remaining)
    if where.is_here():
        # What the Hub does not give is said once.
        reasons = unavailable_here(sweep.evaluations[place].spec for place in remaining.todo)
        total = len(remaining.todo)
        said = [
            f"{reason} ({count} of {counted(total, 'evaluation')})"
            for reason, count in reasons.items()
        ]
        if sum(reasons.values()) == total:
            raise UsageError("nothing can be run: " + "\n".join(said))
        for line in said:
            listener.note(line)
    options = replace(options, provenance=git_state())
    with _executor(sweep, store.log_folder, where) as executor:
        return run_sweep(sweep, store, executor, options, listener, remaining)


def probe_times(
    sweep: Sweep, specs: Sequence[EvalSpec], where: Where, tell: Callable[[str], None]
) -> ProbedTimes:
    """Try each kind of these evaluations for a few seconds, where a launch would run them.

    tell: gets a line for every step. Raises `ResourcesError`, `ClusterError`, `UsageError`.
    """
    began = time.monotonic()
    with _executor(sweep, None, where, SPEED_PROBE) as executor:
        for note in executor.notes:
            tell(f"probe: {note}")
        return try_out(one_of_each_kind(specs), executor, began, tell)


@contextmanager
def _executor(
    sweep: Sweep, log_folder: str | None, where: Where, evaluator: str = DEFAULT_EVALUATOR
) -> Iterator[Executor]:
    resources = sweep.resources
    if where.inline:
        yield InlineExecutor(evaluator=evaluator, options=options_for(resources))
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
            evaluator=evaluator,
            options={"device": device},
            log_folder=log_folder,
            timed=any("latency" in planned.spec.measure for planned in sweep.evaluations),
        )


def git_state(root: Path = ROOT) -> dict[str, Any]:
    """Return `git_commit` and `git_dirty` of the checkout; both None outside of one."""
    if not (root / ".git").exists():  # installed as a package: a parent's repository is not ours
        return {"git_commit": None, "git_dirty": None}
    commit = _git(root, "rev-parse", "HEAD")
    changes = _git(root, "status", "--porcelain", "--untracked-files=no")
    return {"git_commit": commit, "git_dirty": None if changes is None else bool(changes)}


def _git(root: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
