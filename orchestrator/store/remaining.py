"""Which evaluations of a sweep are left to run, given what the store holds.

Done is an `ok` row of the run id; where latency is measured and the grid pins an accelerator, a
row of such a device. Failed evaluations are run again unless the user says otherwise.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.store.store import TRIALS_FOLDER, Store
from orchestrator.sweep import PlannedEvaluation, Resources, Sweep

STATE_COLUMNS = ("run_id", "status", "device_name")
"""What has to be read from the store to know what is done."""
DISTURBED_COLUMNS = ("timing_disturbed", "finished_at")
"""The same to know which times others had a part in."""


@dataclass(frozen=True)
class Remaining:
    """The evaluations of a sweep, by what the store says about them (places in the sweep)."""

    todo: tuple[int, ...]
    done: tuple[int, ...]
    skipped: tuple[int, ...]
    """Failed before and not to be run again, or beyond `--limit`."""
    files: frozenset[str] = frozenset()
    """The files in `trials/` that this was read from."""


def find_remaining(
    sweep: Sweep,
    store: Store,
    *,
    skip_failed: bool = False,
    remeasure: bool = False,
    remeasure_disturbed: bool = False,
    limit: int | None = None,
) -> Remaining:
    """Compare the sweep with the store. Raises `StoreError` if it cannot be read.

    remeasure_disturbed: of what is done, run what was disturbed while it was timed, and nothing
    that is not in the store.
    """
    columns = (*STATE_COLUMNS, *(DISTURBED_COLUMNS if remeasure_disturbed else ()))
    reading = store.read(TRIALS_FOLDER, columns)
    trials = reading.table
    run_ids = pa.array([item.spec.run_id for item in sweep.evaluations], pa.string())
    done = np.zeros(len(run_ids), dtype=bool)
    if not remeasure:
        done = is_done(run_ids, sweep.evaluations, sweep.resources, trials)
    failed = np.zeros(len(run_ids), dtype=bool)
    if skip_failed:
        failed = _among(run_ids, trials.column("run_id")) & ~done
    if remeasure_disturbed:
        again = _among(run_ids, disturbed_run_ids(trials))
        failed, done = ~done & ~again, done & ~again
    todo = np.flatnonzero(~done & ~failed)
    beyond = todo[limit:] if limit is not None else todo[:0]
    kept = todo[:limit]
    skipped = np.sort(np.concatenate([np.flatnonzero(failed), beyond]))
    return Remaining(
        tuple(kept.tolist()),
        tuple(np.flatnonzero(done).tolist()),
        tuple(skipped.tolist()),
        frozenset(reading.names),
    )


def disturbed_run_ids(trials: pa.Table) -> "pa.ChunkedArray[pa.StringScalar]":
    """Return the run ids whose latest `ok` row was disturbed while it was timed."""
    ok = trials.filter(pc.equal(trials.column("status"), pa.scalar("ok")))
    ok = ok.sort_by([("finished_at", "ascending")])
    numbered = ok.append_column("_row", pa.array(range(ok.num_rows), pa.int64()))
    latest = ok.take(numbered.group_by("run_id").aggregate([("_row", "max")])["_row_max"])
    return latest.filter(pc.is_valid(latest["timing_disturbed"])).column("run_id")


def done_among(
    planned: Mapping[str, PlannedEvaluation], resources: Resources, trials: pa.Table
) -> set[str]:
    """Return the run ids of these evaluations whose result is among rows of `STATE_COLUMNS`."""
    run_ids = pa.array(list(planned), pa.string())
    done = is_done(run_ids, list(planned.values()), resources, trials)
    return {run_id for run_id, is_there in zip(planned, done, strict=True) if is_there}


def is_done(
    run_ids: pa.StringArray,
    evaluations: Sequence[PlannedEvaluation],
    resources: Resources,
    trials: pa.Table,
) -> "np.typing.NDArray[np.bool_]":
    """Tell for each evaluation whether the rows of `STATE_COLUMNS` hold its result."""
    ok = trials.filter(pc.equal(trials.column("status"), pa.scalar("ok")))
    done = _among(run_ids, ok.column("run_id"))
    if resources.accelerator is None:
        return done
    names = ok.column("device_name")
    is_such = {n: device_matches(n, resources.accelerator) for n in names.unique().to_pylist()}
    on_such = ok.filter(pa.array([is_such[name] for name in names.to_pylist()], pa.bool_()))
    pinned = np.array(["latency" in item.spec.measure for item in evaluations], dtype=bool)
    return np.where(pinned, _among(run_ids, on_such.column("run_id")), done)


def device_matches(device_name: str | None, accelerator: str) -> bool:
    """Tell whether a device is of a Ray accelerator type: "NVIDIA A100-SXM4-80GB" is an `A100`.

    Variants that Ray names by memory (`A100-80G`) need both parts in the device's name.
    """
    name = re.sub(r"[^a-z0-9]+", " ", (device_name or "").lower()).split()
    wanted = re.sub(r"[^a-z0-9]+", " ", accelerator.lower()).split()
    # "80G" in Ray, "80GB" in the driver
    return all(any(given in (part, f"{part}b") for given in name) for part in wanted)


def _among(
    run_ids: pa.StringArray, found: "pa.ChunkedArray[pa.StringScalar]"
) -> "np.typing.NDArray[np.bool_]":
    mask = pc.is_in(run_ids, value_set=found.combine_chunks())
    return np.asarray(mask.to_numpy(zero_copy_only=False), dtype=bool)
