import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.driver.queue import Queue
from orchestrator.errors import StoreError
from orchestrator.store import heartbeats
from orchestrator.store.heartbeats import (
    Heartbeat,
    boot_id,
    process_start,
    read_drivers,
    request_cancel,
)
from orchestrator.store.storage import open_storage
from tests.support.clock import Clock
from tests.support.sweeps import sweep_of


class Drivers:
    """Drivers on one store, each on a machine and a clock of its own."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.storage = open_storage(root)
        self.patch = monkeypatch
        self.clocks: dict[str, Clock] = {}
        self.drivers: dict[str, Heartbeat] = {}

    def add(self, name: str, *, clock: float = 0.0, sweep: str = "s") -> Heartbeat:
        self.clocks[name] = Clock(clock)
        self.drivers[name] = Heartbeat(self.storage, name, sweep, clock=self.clocks[name])
        return self.drivers[name]

    def beat(self, name: str, in_flight: tuple[str, ...] = ()) -> Heartbeat:
        # Each driver is on a machine of its own: nobody can look at the others' processes.
        self.patch.setattr(heartbeats, "boot_id", lambda: f"boot of {name}")
        self.drivers[name].write(lambda: {"sweep": "s", "in_flight": list(in_flight)})
        return self.drivers[name]

    def pass_time(self, seconds: float) -> None:
        for clock in self.clocks.values():
            clock.now += seconds


@pytest.fixture
def drivers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Drivers:
    return Drivers(tmp_path, monkeypatch)


def test_drivers_see_each_other_whatever_their_clocks_say(drivers: Drivers) -> None:
    drivers.add("a", clock=0.0)
    drivers.add("b", clock=-1e9)
    drivers.beat("a", ("x", "y"))
    b = drivers.beat("b", ("z",))
    a = drivers.beat("a", ("x",))
    assert a.others_in_flight() == {"z"}
    assert b.others_in_flight() == {"x", "y"}
    assert (a.share(), b.share()) == ((0, 2), (1, 2))


def test_a_driver_whose_counter_stands_still_is_dead_after_a_while(drivers: Drivers) -> None:
    drivers.add("a")
    drivers.add("b")
    drivers.beat("b", ("z",))
    assert drivers.beat("a").others_in_flight() == {"z"}
    drivers.pass_time(heartbeats.DEAD_AFTER - 1)
    assert drivers.beat("a").others_in_flight() == {"z"}
    drivers.pass_time(2)
    assert drivers.beat("a").others_in_flight() == set()
    assert set(read_drivers(drivers.storage)) == {"a"}


def test_a_driver_that_was_only_slow_comes_back(drivers: Drivers) -> None:
    drivers.add("a")
    drivers.add("b")
    drivers.beat("b")
    drivers.beat("a")
    drivers.pass_time(heartbeats.DEAD_AFTER + 1)
    assert drivers.beat("a").peers == {}
    drivers.beat("b", ("w",))
    assert drivers.beat("a").others_in_flight() == {"w"}


def test_a_driver_begins_when_the_others_know_of_it_or_have_had_the_time(drivers: Drivers) -> None:
    drivers.add("a")
    drivers.beat("a")
    assert drivers.drivers["a"].is_introduced()
    drivers.add("b")
    assert not drivers.beat("b").is_introduced()
    drivers.beat("a")
    assert drivers.beat("b").is_introduced()
    drivers.add("c")
    assert not drivers.beat("c").is_introduced()
    drivers.pass_time(5 * heartbeats.BEAT_SECONDS)
    assert drivers.drivers["c"].is_introduced()


def test_drivers_of_other_sweeps_do_not_divide_this_one(drivers: Drivers) -> None:
    drivers.add("a")
    drivers.beat("a")
    other = drivers.add("b", sweep="another")
    drivers.beat("b")
    assert other.share() == (0, 1)


def test_a_cancel_request_reaches_the_driver_it_is_for(drivers: Drivers) -> None:
    drivers.add("a")
    drivers.add("b")
    request_cancel(drivers.storage, "a")
    assert drivers.beat("a").cancelled
    assert not drivers.beat("b").cancelled
    drivers.drivers["a"].end()
    assert drivers.storage.names("drivers") == ["b.json"]


def test_a_vanished_process_of_this_machine_is_dead_at_once(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    state = {"counter": 1, "boot_id": boot_id(), "pid": child.pid}
    state["process_start"] = process_start(child.pid)
    storage.replace("drivers", "b.json", json.dumps(state).encode())
    driver = Heartbeat(storage, "a", "s")
    driver.write(dict)
    assert set(driver.peers) == {"b"}
    child.kill()
    child.wait()
    driver.write(dict)
    assert driver.peers == {}


def test_another_process_under_the_same_number_is_not_the_driver() -> None:
    state = {"boot_id": boot_id(), "pid": os.getpid(), "process_start": "1"}
    assert heartbeats.is_gone(state)
    assert not heartbeats.is_gone({**state, "process_start": process_start(os.getpid())})
    assert not heartbeats.is_gone({**state, "boot_id": "another machine"})


def test_a_damaged_heartbeat_is_ignored(drivers: Drivers) -> None:
    drivers.add("a")
    for name, data in (("x", b"{torn"), ("y", b"[1]"), ("z", b"")):
        drivers.storage.replace("drivers", f"{name}.json", data)
    assert drivers.beat("a").peers == {}


def test_a_heartbeat_may_fail_now_and_then_but_not_the_first_and_not_forever(
    drivers: Drivers, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = drivers.add("a")

    def refused(*_: Any) -> None:
        raise OSError("refused")

    drivers.beat("a")
    monkeypatch.setattr(drivers.storage, "replace", refused)
    for _ in range(heartbeats.MISSED_BEATS - 1):
        drivers.beat("a")
    with pytest.raises(StoreError, match="refused"):
        drivers.beat("a")
    fresh = drivers.add("b")
    with pytest.raises(StoreError, match="refused"):
        fresh.write(dict)
    driver.end()


def backlogs(count: int, drivers: int) -> list[Queue]:
    evaluations = sweep_of(count).evaluations
    made = [Queue(evaluations, range(count)) for _ in range(drivers)]
    for number, queue in enumerate(made):
        queue.split((number, drivers))
    return made


def drain(queue: Queue) -> list[str]:
    found: list[str] = []
    while taken := queue.pop(None, 7):
        found += taken
    return found


def test_shares_cover_a_sweep_without_overlap() -> None:
    shares = [drain(queue) for queue in backlogs(300, 3)]
    everything = [run_id for share in shares for run_id in share]
    assert len(everything) == len(set(everything)) == 300
    assert min(map(len, shares)) > 60


def test_a_driver_without_work_takes_the_far_end_of_the_others() -> None:
    first, second = backlogs(100, 2)
    order = drain(backlogs(100, 2)[1])
    drain(first)
    first.hold({order[-2]})
    stolen = first.steal(3)
    assert stolen == [order[-1], order[-3], order[-4]]
    assert second.mark_done(stolen) == sorted(stolen)
    assert set(drain(second)) == set(order) - set(stolen)


def test_what_is_left_alone_stays_available() -> None:
    first, _ = backlogs(20, 2)
    order = drain(backlogs(20, 2)[1])
    drain(first)
    first.hold(set(order))
    assert first.steal(99) == []
    first.hold(set())
    assert set(first.steal(99)) == set(order)
    assert len(first) == 0


def test_what_another_has_under_way_is_left_alone_in_ones_own_share_too() -> None:
    first, _ = backlogs(60, 2)
    order = drain(backlogs(60, 2)[0])
    under_way = {order[0], order[5], order[-1]}
    first.hold(under_way)
    assert drain(first) == [run_id for run_id in order if run_id not in under_way]
    assert len(first) == 60 - len(order) + 3
    assert first.mark_done([order[5]]) == [order[5]]
    first.hold({order[-1]})
    assert drain(first) == [order[0]], "its driver has died"
    first.hold(set())
    assert drain(first) == [order[-1]]


def test_when_the_others_are_gone_everything_is_ones_own_again() -> None:
    first, _ = backlogs(40, 2)
    own = first.pop(None, 5)
    first.split((0, 1))
    assert len(drain(first)) == 40 - len(own)


def test_done_elsewhere_is_counted_once_and_never_handed_out() -> None:
    (queue,) = backlogs(10, 1)
    done = sorted(queue.places)[:4]
    assert queue.mark_done([*done, "unknown"]) == done
    assert queue.mark_done(done) == []
    assert set(drain(queue)) == set(queue.places) - set(done)


def test_a_driver_that_slept_does_not_take_the_others_for_dead(drivers: Drivers) -> None:
    drivers.add("a")
    drivers.add("b")
    for _ in range(3):
        drivers.beat("a")
        drivers.beat("b")
        drivers.pass_time(1.0)
    drivers.clocks["b"].now += 3600.0  # only b's machine slept; a ran on, or slept as well
    assert set(drivers.beat("b").peers) == {"a"}
    drivers.pass_time(1.0)
    assert set(drivers.beat("b").peers) == {"a"}
    # One that stays silent after the sleep is dead all the same.
    for _ in range(12):
        drivers.pass_time(1.0)
        drivers.beat("b")
    assert not drivers.drivers["b"].peers


ASK = """
import json, sys
from orchestrator.store.heartbeats import is_gone
print(is_gone(json.loads(sys.argv[1])))
"""


def test_a_driver_of_another_container_on_this_machine_is_not_taken_for_dead() -> None:
    state = {"boot_id": boot_id(), "pid": os.getpid(), "process_start": process_start(os.getpid())}
    asking = [sys.executable, "-c", ASK, json.dumps(state)]
    contained = ["unshare", "--pid", "--fork", "--mount-proc", *asking]
    done = subprocess.run(contained, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no namespaces here: {done.stderr.strip()[:200]}")
    assert done.stdout.strip() == "False"
    gone = {**state, "process_start": "1"}
    outside = subprocess.run(
        [*asking[:-1], json.dumps(gone)], capture_output=True, text=True, check=True
    )
    assert outside.stdout.strip() == "True"
