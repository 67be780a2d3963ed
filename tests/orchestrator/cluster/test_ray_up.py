"""The steps of docs/cluster.md for machines of one's own, read from the page and followed.

A laptop, a head and two workers on this machine, over SSH (`tests.support.machines`). Afterwards a
longer sweep loses both workers, gets them back, and is cancelled.
"""

import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from orchestrator.store.store import Store
from tests.support import machines
from tests.support.machines import HOME, Machine

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(1800)]
ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "cluster.md"
LONG = {
    "sweep": "long",
    "defaults": {"model": "demo", "dataset": "pydoc", "max_tokens": 60, "measure": ["quality"]},
    "grids": [{"method": "streaming", "window_size": list(range(1, 401))}],
}
"""Four hundred evaluations of seconds each, in which next to nothing is computed."""
EVALUATOR = ("workers.evaluator:Evaluator", "tests.support.unhurried:Evaluator")
CLUSTER = "--cluster my-cluster.yaml"
WORKERS = ("worker-1", "worker-2")


def steps() -> list[str]:
    """The blocks of the section, in order; the machines' user is root, the sweep a short one."""
    text = PAGE.read_text(encoding="utf-8").split("\n## Machines of your own\n", 1)[1]
    section = text.split("\n## ", 1)[0]
    blocks = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    changes = ("dataset=pydoc", "max_tokens=160", "decode_tokens=8", "repeats=1")
    short = "--grid quickstart" + "".join(f" --set {change}" for change in changes)
    return [block.replace("ubuntu", "root").replace("--grid quickstart", short) for block in blocks]


SOONER = {
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "5000",
    "RAY_health_check_failure_threshold": "3",
    "AUTOSCALER_HEARTBEAT_TIMEOUT_S": "10",
    "AUTOSCALER_UPDATE_INTERVAL_S": "2",
}
"""Ray notices a lost machine, and starts it again, after seconds instead of a minute."""


@dataclass
class Walk:
    """What was done and what was printed."""

    machines: dict[str, Machine]
    printed: dict[str, str] = field(default_factory=dict)

    def laptop(self, line: str, *, check: bool = True) -> str:
        return self.machines["laptop"].run(f"set -e; cd ~/sinksweep; {line}", check=check)

    def status(self, store: str) -> dict[str, object]:
        found: dict[str, object] = json.loads(
            self.laptop(f"sweep status {CLUSTER} --store {store} --json 2>/dev/null")
        )
        return found

    def raylets(self, name: str) -> set[str]:
        return {*self.machines[name].run("pgrep -x raylet || true").split()}

    def until_all_nodes(self, seconds: float) -> bool:
        """Asking Ray keeps a processor busy for seconds: only when every machine has its raylet."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if all(map(self.raylets, ("head", *WORKERS))):
                listed = self.machines["head"].run("ray status", check=False)
                if re.search(r"\b3 local.cluster.node$", listed, re.MULTILINE):
                    return True
            time.sleep(1.0)
        return False


@pytest.fixture(scope="module")
def walk() -> Iterator[Walk]:
    if reason := machines.missing():
        pytest.skip(reason)
    with machines.machines(SOONER, _evaluate_without_haste) as found:
        done = Walk(found)
        key, file, up, sweep, figures, down = steps()
        done.printed["key"] = done.laptop(key)
        done.printed["file"] = done.laptop(file)
        done.printed["up"] = done.laptop(up)
        assert done.until_all_nodes(120), done.machines["head"].run("ray status", check=False)
        done.printed["doctor"] = done.laptop(f"sweep doctor {CLUSTER}")
        _knock(done)
        done.printed["sweep"] = done.laptop(sweep)
        done.printed["figures"] = done.laptop(figures)
        _lose_the_workers(done)
        done.printed["down"] = done.laptop(down)
        yield done


def _evaluate_without_haste(checkout: Path) -> None:
    events = checkout / "workers/contract/events.py"
    before = events.read_text()
    events.write_text(after := before.replace(*EVALUATOR))
    assert after != before


STRANGER = """
import sys, urllib.request
import ray
where = sys.argv[1]
if where.startswith("http"):
    print("IN", urllib.request.urlopen(where, timeout=20).status)
else:
    ray.init(address=where, log_to_driver=False, logging_level="CRITICAL")
    print("IN", ray.cluster_resources())
"""
DOORS = {
    "gcs": "10.0.0.10:6379",
    "jobs": "http://127.0.0.1:8265/api/jobs/",
    "client": "ray://10.0.0.10:10001",
}


def _knock(done: Walk) -> None:
    """Strangers on the head itself, all at once: without the token and with a wrong one."""
    head = done.machines["head"]
    (head.folder / "home/stranger.py").write_text(STRANGER)
    as_stranger = "mkdir -p /tmp/stranger; HOME=/tmp/stranger"
    script = "timeout 100 ~/sinksweep-venv/bin/python ~/stranger.py"
    given = {
        "none": "RAY_AUTH_MODE=disabled",
        "wrong": f"RAY_AUTH_MODE=token RAY_AUTH_TOKEN={'0' * 64}",
    }
    knocks = {
        f"{door} {token}": f"{as_stranger} {words} {script} {where} 2>&1 || echo REFUSED"
        for token, words in given.items()
        for door, where in DOORS.items()
    }
    with ThreadPoolExecutor(len(knocks)) as pool:
        done.printed.update(zip(knocks, pool.map(head.run, knocks.values()), strict=True))


def _lose_the_workers(done: Walk) -> None:
    """A longer sweep: one worker's Ray is killed, the other's cable is pulled; both come back."""
    (done.machines["laptop"].folder / "home/sinksweep/long.yaml").write_text(json.dumps(LONG))
    done.laptop(f"sweep submit {CLUSTER} --grid long.yaml --store long")
    first, second = done.machines["worker-1"], done.machines["worker-2"]
    before = {name: _until_row_of(done, name, more_than=0) for name in WORKERS}
    killed = done.raylets("worker-1")
    first.run(f"kill -9 {' '.join(killed)}")
    second.network("link", "set", "eth0", "down")
    done.printed["lost"] = str(_until_lost(done, 2, 150))
    alone = _until_row_of(done, "head", more_than=0)
    _until_row_of(done, "head", more_than=alone)
    second.network("link", "set", "eth0", "up")
    done.printed["back"] = str(_until_new_raylet(done, killed, 150) and done.until_all_nodes(240))
    for name in WORKERS:
        _until_row_of(done, name, more_than=before[name])
    done.printed["cancel"] = done.laptop(f"sweep cancel {CLUSTER} --store long")
    end = time.monotonic() + 30
    while done.status("long")["drivers"] and time.monotonic() < end:
        time.sleep(1)
    done.printed["status"] = done.laptop(f"sweep status {CLUSTER} --store long")
    done.laptop(f"sweep fetch {CLUSTER} --from long --store long")


def _until_lost(done: Walk, count: int, seconds: float) -> bool:
    """Tell whether so many evaluations were taken back from lost nodes in time."""
    store = Store(done.machines["head"].folder / "home/sinksweep/long")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        kinds = store.trials(["error_kind"]).column("error_kind").to_pylist()
        if kinds.count("node_lost") >= count:
            return True
        time.sleep(0.5)
    return False


def _until_row_of(done: Walk, hostname: str, *, more_than: int) -> int:
    """Wait for a further finished evaluation of a machine; return how many there are."""
    store = Store(done.machines["head"].folder / "home/sinksweep/long")
    end = time.monotonic() + 180
    while True:
        count = store.trials(["hostname"]).column("hostname").to_pylist().count(hostname)
        if count > more_than:
            return count
        assert time.monotonic() < end, f"no more rows of {hostname} appear"
        time.sleep(0.5)


def _until_new_raylet(done: Walk, killed: set[str], seconds: float) -> bool:
    """Tell whether Ray was started again on a machine in time: by the cluster, not by us."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if done.raylets("worker-1") - killed:
            return True
        time.sleep(0.5)
    return False


def rows(walk: Walk, store: str) -> list[dict[str, object]]:
    folder = walk.machines["laptop"].folder / "home/sinksweep" / store / "trials"
    columns = ["status", "hostname", "error_kind", "git_dirty", "run_id"]
    found: list[dict[str, object]] = pq.read_table(folder, columns=columns).to_pylist()
    return found


def test_the_page_has_the_steps_that_are_followed_here() -> None:
    key, file, up, sweep, figures, down = steps()
    assert "ssh-copy-id" in key
    assert "sweep cluster-file --head 10.0.0.10 --workers 10.0.0.11,10.0.0.12" in file
    assert "ray up --yes my-cluster.yaml" in up
    assert "sweep submit --cluster my-cluster.yaml" in sweep
    assert "analysis plot" in figures
    assert "ray down --yes my-cluster.yaml" in down


def test_the_doctor_finds_nothing_to_mend_in_a_file_that_was_written_for_these_machines(
    walk: Walk,
) -> None:
    assert "FAILED" not in walk.printed["file"]
    assert "everything is filled in" in walk.printed["file"]


def test_the_doctor_asks_every_machine_of_the_running_cluster(walk: Walk) -> None:
    lines = walk.printed["doctor"].splitlines()
    nodes = {line.split()[2].rstrip(":") for line in lines if " node " in line}
    assert nodes == {"head", "worker-1", "worker-2"}
    assert len({re.findall(r"code (\w+)", line)[0] for line in lines if " node " in line}) == 1


def test_every_evaluation_of_the_page_ends_ok_and_the_code_is_that_of_a_commit(walk: Walk) -> None:
    found = rows(walk, "results")
    assert {row["status"] for row in found} == {"ok"}
    assert {row["git_dirty"] for row in found} == {False}
    assert f"{len(found)} " in walk.printed["sweep"]


def test_the_hints_after_submitting_name_the_cluster_file(walk: Walk) -> None:
    for command in ("watch", "cancel", "fetch"):
        assert f"sweep {command} --cluster my-cluster.yaml" in walk.printed["sweep"]


def test_the_page_ends_in_figures(walk: Walk) -> None:
    figures = walk.machines["laptop"].folder / "home/sinksweep/results/figures"
    assert {path.stem for path in figures.glob("*.png")} >= {"ablation_window_size", "pareto"}


def test_evaluations_run_on_every_machine(walk: Walk) -> None:
    assert {row["hostname"] for row in rows(walk, "long")} >= {"head", "worker-1", "worker-2"}


def test_a_worker_that_is_killed_and_one_that_is_cut_off_are_left_out_and_come_back(
    walk: Walk,
) -> None:
    assert walk.printed["lost"] == "True"
    assert walk.printed["back"] == "True"
    kinds = {row["error_kind"] for row in rows(walk, "long") if row["status"] == "failed"}
    assert kinds == {"node_lost"}


@pytest.mark.parametrize("token", ["none", "wrong"])
@pytest.mark.parametrize("door", DOORS)
def test_without_the_token_nobody_enters(door: str, token: str, walk: Walk) -> None:
    printed = walk.printed[f"{door} {token}"]
    assert "REFUSED" in printed
    assert not any(line.startswith("IN ") for line in printed.splitlines())


def test_a_cancelled_sweep_has_no_driver_and_keeps_what_it_had(walk: Walk) -> None:
    assert "asked the driver of long on head" in walk.printed["cancel"]
    assert "no driver is running" in walk.printed["status"]
    ok = [row["run_id"] for row in rows(walk, "long") if row["status"] == "ok"]
    assert len(ok) == len(set(ok)) >= 3


def test_after_the_last_step_no_process_of_ray_is_left_on_any_machine(walk: Walk) -> None:
    for name in ("head", "worker-1", "worker-2"):
        listed = walk.machines[name].run("pgrep -fa 'raylet|gcs_server' || true")
        assert "ray/core/src/ray" not in listed, name


def test_the_token_is_in_no_file_but_its_own_and_no_other_user_may_enter_the_sessions(
    walk: Walk,
) -> None:
    laptop = walk.machines["laptop"].folder / "home"
    token = (laptop / ".ray/auth_token").read_bytes()
    for machine in walk.machines.values():
        searched = [path for path in machine.folder.rglob("*") if path.is_file()]
        holders = {path.name for path in searched if _holds(path, token)}
        assert holders <= {"auth_token"}, machine.name
    head = walk.machines["head"].folder / "home"
    assert (head / ".ray/auth_token").stat().st_mode & 0o077 == 0
    assert (head / ".sinksweep").stat().st_mode & 0o077 == 0
    sessions = walk.machines["head"].folder.glob("tmp/ray/session_2*")
    assert list(sessions) == []


def _holds(path: Path, token: bytes) -> bool:
    try:
        return path.stat().st_size < 50_000_000 and token in path.read_bytes()
    except OSError:
        return False


def test_a_key_that_is_not_accepted_and_a_head_that_is_off_are_one_line_each(walk: Walk) -> None:
    wrong = "sed 's#~/.ssh/sinksweep#~/.ssh/other#' my-cluster.yaml > other.yaml"
    walk.laptop(f"ssh-keygen -q -t ed25519 -N '' -f {HOME}/.ssh/other; {wrong}")
    (refused,) = walk.laptop("sweep status --cluster other.yaml", check=False).splitlines()
    assert "ssh-copy-id -i" in refused
    walk.laptop("sed 's#10.0.0.10#10.0.0.99#' my-cluster.yaml > off.yaml")
    (off,) = walk.laptop("sweep status --cluster off.yaml", check=False).splitlines()
    assert "cannot be reached by SSH" in off
