"""Run the driver on a cluster's head as a Ray job, so that it outlives this terminal.

What is sent is a folder with the grid and its small texts; the code is what the cluster has
installed. Run ids name content, so the evaluations are the same as those of a launch from here.
A job counts as submitted once its driver says that it works: a wrong Python, a store that cannot
be written or resources that are not there show in the first seconds.
"""

import hashlib
import json
import logging
import os
import re
import shlex
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

from orchestrator.cluster.connection import token_refusal
from orchestrator.cluster.local_ray import flattened
from orchestrator.errors import ClusterError, UsageError
from orchestrator.grid.load import read_source
from orchestrator.grid.overrides import apply_overrides
from workers.contract.file_datasets import (
    FILE_PREFIX,
    MANY_FILES,
    expanded,
    local_members,
    split_file_dataset,
    with_path,
)
from workers.contract.spec import is_local_model

SHIPPED_BYTES = 64_000_000
"""Larger texts have to be where every node sees them."""
GRID_FILE = "grid.yaml"
_ANSWER_SECONDS = 10.0
_JOB_SERVER_REMEDY = "use http://HOST:8265 of the head, or bring it here with `ray dashboard FILE`"
_AGENT_SECONDS = 60.0
"""How long a head that has just been started may take until it takes jobs."""
ALIVE_SECONDS = 120.0
"""How long a driver may take until it says something; then it is left alone, and that is said."""
_LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class Job:
    """A driver that runs on a cluster."""

    id: str
    address: str
    entrypoint: str
    alive: bool = False
    """Whether its driver has been heard of; False: it was still starting."""


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

    launch: further arguments of `sweep launch`. python: as a shell takes it. Raises `ClusterError`
    if no head answers, or if the driver ends before it has begun.
    """
    check_store(store_uri)
    command = ["-m", "orchestrator.cli", "launch", "--grid", GRID_FILE, "--yes"]
    # The job's RAY_ADDRESS names the cluster it runs in, which is where a launch then goes.
    command += ["--store", store_uri, *launch]
    entrypoint = f"{python} {shlex.join(command)}"
    with packed(source, overrides) as folder:
        client, job_id = submit_job(address, entrypoint, str(folder))
    return Job(job_id, address, entrypoint, alive=_lives(client, job_id))


def _lives(client: Any, job_id: str) -> bool:
    """Wait until the driver works or has ended well. Raises `ClusterError` if it has failed."""
    deadline = time.monotonic() + ALIVE_SECONDS
    while time.monotonic() < deadline:
        state, log = str(client.get_job_status(job_id)), str(client.get_job_logs(job_id) or "")
        if state == "SUCCEEDED" or re.search(_AT_WORK, log, re.MULTILINE):
            return True
        if state in ("FAILED", "STOPPED"):
            lines = [line.strip() for line in log.splitlines() if line.strip()]
            errors = [line for line in lines if line.startswith("Error: ")]
            why = (errors or lines or [""])[-1].removeprefix("Error: ")
            told = str(client.get_job_info(job_id).message or "")
            raise ClusterError(f"job {job_id} has ended at once: {why or told}")
        time.sleep(_LOOK_SECONDS)
    return False


_AT_WORK = r"^[\w-]+: \d+(/| of )\d+ "
"""How a driver's own lines begin: `NAME: 3/7 done` (`orchestrator.progress.display.headline`)."""


def check_store(uri: str) -> None:
    """Refuse a store that the head would keep in a folder of the job and then lose."""
    if "://" not in uri and not uri.startswith(("/", "~/")):
        raise UsageError(
            f"--store {uri}: must be s3://…, gs://… or an absolute path on the head, because a "
            "relative one would end in the job's scratch folder (with --cluster it lies in the "
            "checkout there)"
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
        return str(expanded(value).absolute())
    return value


def _shipped_text(dataset: str, folder: Path) -> str:
    path, file_format, _ = split_file_dataset(dataset)
    if "://" in path:
        return dataset
    found = local_members(path) if file_format == MANY_FILES else [path]
    sources = [expanded(file).absolute() for file in found]
    if sum(source.stat().st_size for source in sources) > SHIPPED_BYTES:
        return with_path(dataset, _absolute(path))
    # A folder of its own for each: two texts of one name stay apart, and keep their name.
    place = f"texts/{hashlib.sha256(_absolute(path).encode()).hexdigest()[:8]}"
    (folder / place).mkdir(parents=True, exist_ok=True)
    if file_format != MANY_FILES:
        shutil.copyfile(sources[0], folder / place / sources[0].name)
        return with_path(dataset, f"{place}/{sources[0].name}")
    for number, source in enumerate(sources):  # the numbers keep the order of the documents
        shutil.copyfile(source, folder / place / f"{number:06}-{source.name}")
    return with_path(dataset, f"{place}/")


def _absolute(path: str) -> str:
    return str(expanded(path).absolute()) + "/" * path.endswith("/")


def submit_job(address: str, entrypoint: str, working_dir: str) -> tuple[Any, str]:
    """Run a command on a cluster's head, in a copy of a folder; return the client and the id.

    Raises `ClusterError`. A head that has just been started is waited for.
    """
    from ray.job_submission import JobSubmissionClient  # half a second that a launch need not wait

    _refuse_other_servers(address)
    log = logging.getLogger("ray.dashboard.modules.dashboard_sdk")  # it sets a level of its own
    log.setLevel(logging.WARNING)  # what it uploads is nobody's concern

    deadline = time.monotonic() + _AGENT_SECONDS
    while True:
        try:
            client = JobSubmissionClient(address)
            environment = {"working_dir": working_dir}
            return client, str(client.submit_job(entrypoint=entrypoint, runtime_env=environment))
        except Exception as error:  # the client raises whatever its HTTP library does
            if "No available agent" not in str(error) or time.monotonic() > deadline:
                raise ClusterError(f"--address {address}: {_job_reason(error)}") from error
        time.sleep(1.0)


def _refuse_other_servers(address: str) -> None:
    """Ask for the version, as Ray's client does, which would wait for minutes."""
    if not address.startswith(("http://", "https://")):
        raise UsageError(f"--address {address}: must be http://HOST:8265, the head's dashboard")
    if urlsplit(address).hostname in ("127.0.0.1", "localhost"):  # a proxy has other ones
        os.environ["no_proxy"] = ",".join([os.environ.get("no_proxy", ""), "127.0.0.1,localhost"])
    wrong = (
        f"--address {address}: something else than Ray's job server answers there; "
        f"{_JOB_SERVER_REMEDY}"
    )
    try:
        with urlopen(f"{address.rstrip('/')}/api/version", timeout=_ANSWER_SECONDS) as answer:
            answer.read(1)
    except HTTPError as error:
        if error.code in (404, 405, 501):
            raise ClusterError(wrong) from error
    except URLError:  # nobody there: the client says it
        pass
    except (OSError, HTTPException, ValueError) as error:  # silence, or another protocol
        raise ClusterError(wrong) from error


def _job_reason(error: Exception) -> str:
    if "uthentication" in str(error):
        return token_refusal()
    if isinstance(error, ConnectionError):
        reason = "no Ray job server answers there"
        remedy = _JOB_SERVER_REMEDY
    else:
        reason, remedy = "the head does not take the job", "look at `sweep doctor` on the head"
    return f"{reason} ({flattened(error)[:200]}): {remedy}"
