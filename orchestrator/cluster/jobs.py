"""Run the driver on a cluster's head as a Ray job, so that it outlives this terminal.

What is sent is a folder with the grid and its small texts; the code is what the cluster has
installed. Run ids name content, so the evaluations are the same as those of a launch from here.
"""

import hashlib
import json
import shlex
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.cluster.connection import _line
from orchestrator.errors import ClusterError, UsageError
from orchestrator.grid.load import read_source
from orchestrator.grid.overrides import apply_overrides
from workers.contract.spec import FILE_PREFIX, is_local_model, split_file_dataset

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
SHIPPED_BYTES = 64_000_000
"""Larger texts have to be where every node sees them."""
GRID_FILE = "grid.yaml"
_AGENT_SECONDS = 60.0
"""How long a head that has just been started may take until it takes jobs."""


@dataclass(frozen=True)
class Job:
    """A driver that runs on a cluster."""

    id: str
    address: str
    entrypoint: str


def submit(
    source: str,
    overrides: Sequence[str],
    store_uri: str,
    launch: Sequence[str],
    *,
    python: str,
    address: str,
) -> Job:
    """Send a grid, known to be valid, to a cluster's head and launch it there.

    launch: further arguments of `sweep launch`. Raises `ClusterError` if no head answers.
    """

    check_store(store_uri)
    command = [python, "-m", "orchestrator.cli", "launch", "--grid", GRID_FILE, "--yes"]
    # The job's RAY_ADDRESS names the cluster it runs in, which is where a launch then goes.
    command += ["--store", store_uri, *launch]
    entrypoint = shlex.join(command)
    with packed(source, overrides) as folder:
        job_id = submit_job(address, entrypoint, str(folder))
    return Job(job_id, address, entrypoint)


def check_store(uri: str) -> None:
    """Refuse a store that the head would keep in a folder of the job and then lose."""
    if "://" not in uri and not uri.startswith("/"):
        raise UsageError(
            f"--store {uri}: must be s3://…, gs://… or an absolute path on the head, because a "
            "relative one would end in the job's scratch folder"
        )


@contextmanager
def packed(source: str, overrides: Sequence[str]) -> Iterator[Path]:
    """Yield a folder with the grid, overrides applied, and copies of its small local texts."""
    found = read_source(source)
    apply_overrides(found, overrides)
    with tempfile.TemporaryDirectory(prefix="sinksweep-job-") as scratch:
        folder = Path(scratch)
        grid = _localised(found.value, folder)
        (folder / GRID_FILE).write_text(json.dumps(grid, indent=1))  # JSON is YAML
        yield folder


def _localised(value: Any, folder: Path, key: str = "") -> Any:
    """Copy a grid; paths that mean something on this machine become paths in the folder."""
    if isinstance(value, dict):
        return {name: _localised(item, folder, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_localised(item, folder, key) for item in value]
    if key == "dataset" and isinstance(value, str) and value.startswith(FILE_PREFIX):
        return _shipped_text(value, folder)
    if key == "model" and isinstance(value, str) and is_local_model(value):
        return str(Path(value).expanduser().absolute())
    return value


def _shipped_text(dataset: str, folder: Path) -> str:
    path, _, _ = split_file_dataset(dataset)
    if "://" in path:
        return dataset
    file = Path(path).expanduser().absolute()
    if file.stat().st_size > SHIPPED_BYTES:
        return dataset.replace(path, str(file), 1)
    name = f"{hashlib.sha256(str(file).encode()).hexdigest()[:8]}-{file.name}"
    shutil.copyfile(file, folder / name)
    return dataset.replace(path, name, 1)


def submit_job(address: str, entrypoint: str, working_dir: str) -> str:
    """Run a command on a cluster's head, in a copy of a folder; return the job's id.

    Raises `ClusterError`. A head that has just been started is waited for.
    """
    from ray.job_submission import JobSubmissionClient  # half a second that a launch need not wait

    deadline = time.monotonic() + _AGENT_SECONDS
    while True:
        try:
            client = JobSubmissionClient(address)
            environment = {"working_dir": working_dir}
            return str(client.submit_job(entrypoint=entrypoint, runtime_env=environment))
        except Exception as error:  # the client raises whatever its HTTP library does
            if "No available agent" not in str(error) or time.monotonic() > deadline:
                raise ClusterError(f"--address {address}: {_job_reason(error)}") from error
        time.sleep(1.0)


def _job_reason(error: Exception) -> str:
    if "uthentication" in str(error):
        reason = "the cluster asks for its token"
        remedy = "copy its ~/.ray/auth_token here (mode 0600) and set RAY_AUTH_MODE=token"
    elif isinstance(error, ConnectionError):
        reason = "no Ray job server answers there"
        remedy = "use http://HOST:8265 of the head, or bring it here with `ray dashboard FILE`"
    else:
        reason, remedy = "the head does not take the job", "look at `sweep doctor` on the head"
    return f"{reason} ({_line(error)[:200]}): {remedy}"
