import uuid
from collections.abc import Iterator

import boto3
import pyarrow.fs
import pytest

from orchestrator.driver.loop import LaunchOptions, run_sweep
from orchestrator.errors import StoreError
from orchestrator.executors.inline import InlineExecutor
from orchestrator.store import heartbeats, storage
from orchestrator.store.compaction import compact
from orchestrator.store.part_files import part_names
from orchestrator.store.store import Store
from tests.support.flaky_s3 import BUCKET, FlakyS3, flaky_s3
from tests.support.sweeps import Listening, ok_run_ids, row, run_ids, sweep_of

NOOP = "benchmarks.noop:NoopEvaluator"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[FlakyS3]:
    with flaky_s3() as flaky:
        yield flaky


@pytest.fixture
def s3(endpoint: FlakyS3, monkeypatch: pytest.MonkeyPatch) -> FlakyS3:
    for name, value in endpoint.environment.items():
        monkeypatch.setenv(name, value)
    endpoint.fault = lambda method, path: None
    boto3.client("s3", endpoint_url=endpoint.environment["AWS_ENDPOINT_URL"]).create_bucket(
        Bucket=BUCKET
    )
    endpoint.requests.clear()
    return endpoint


@pytest.fixture
def uri() -> str:
    return f"s3://{BUCKET}/{uuid.uuid4().hex}"


def hasty(uri: str) -> Store:
    """A store that believes an error that comes twice."""
    return Store(storage.ObjectStorage(uri, attempts=2))


def test_rows_are_read_back(s3: FlakyS3, uri: str) -> None:
    Store(uri).append_trials([row(1), row(2)])
    Store(uri).append_trials([row(3)])
    assert Store(uri).results(["seed"]).num_rows == 3
    assert Store(uri).trials(["seed"]).num_rows == 3
    assert Store(uri + "/empty").trials().num_rows == 0


def test_a_commit_is_one_put_of_one_object(s3: FlakyS3, uri: str) -> None:
    store = Store(uri)
    store.append_trials([row(1)])
    writes = [request for request in s3.requests if request[0] in ("PUT", "POST")]
    assert len(writes) == 1
    assert f"/trials/part-{store.writer}-" in writes[0][1]


def test_a_sweep_runs_into_the_bucket_and_resumes_from_it(s3: FlakyS3, uri: str) -> None:
    for expected in ((0, 6), (6, 4)):
        executor = InlineExecutor(evaluator=NOOP)
        sweep = sweep_of(sum(expected))
        summary = run_sweep(sweep, Store(uri), executor, LaunchOptions(), Listening())
        assert (summary.done_before, summary.ok) == expected
    assert ok_run_ids(Store(uri)) == run_ids(sweep_of(10))
    assert heartbeats.read_drivers(Store(uri).storage) == {}


@pytest.mark.parametrize("outcome", [500, 503, "drop"])
def test_a_passing_failure_of_the_server_is_ridden_out(
    s3: FlakyS3, uri: str, outcome: int | str
) -> None:
    s3.fail(2, outcome, "PUT", "/trials/")
    Store(uri).append_trials([row(1)])
    s3.fail(2, outcome, "GET")
    assert Store(uri).results(["seed"]).num_rows == 1


def test_a_refused_write_is_loud_and_says_where(s3: FlakyS3, uri: str) -> None:
    s3.fail(999, 403, "PUT", "/trials/")
    with pytest.raises(StoreError, match=r"s3://.*/trials: 1 row cannot be written"):
        Store(uri).append_trials([row(1)])
    s3.fault = lambda method, path: None
    assert Store(uri).trials().num_rows == 0


def test_a_server_that_keeps_failing_stops_the_sweep_loudly(s3: FlakyS3, uri: str) -> None:
    store = hasty(uri)
    done: list[str] = []

    def fault(method: str, path: str) -> int | None:
        if method == "PUT" and "/trials/" in path:
            done.append(path)
            return 500 if len(done) > 2 else None
        return None

    s3.fault = fault
    executor = InlineExecutor(evaluator=NOOP, options={"seconds": 0.05})
    with pytest.raises(StoreError, match="cannot be written"):
        run_sweep(sweep_of(60), store, executor, LaunchOptions(), Listening())
    s3.fault = lambda method, path: None
    stored = len(ok_run_ids(Store(uri)))
    assert 0 < stored < 60
    again = run_sweep(
        sweep_of(60), Store(uri), InlineExecutor(evaluator=NOOP), LaunchOptions(), Listening()
    )
    assert (again.done_before, again.exit_code) == (stored, 0)


def test_a_store_that_cannot_be_listed_is_not_taken_for_an_empty_one(s3: FlakyS3, uri: str) -> None:
    Store(uri).append_trials([row(1)])
    for outcome in (403, 500):
        s3.fail(999, outcome, "GET")
        with pytest.raises(StoreError, match="cannot be listed"):
            hasty(uri).trials()


def test_an_object_that_cannot_be_fetched_is_not_taken_for_a_damaged_one(
    s3: FlakyS3, uri: str
) -> None:
    Store(uri).append_trials([row(1)])
    s3.fail(999, 500, "GET", ".parquet")
    with pytest.raises(StoreError, match="cannot be read"):
        hasty(uri).trials()


def test_a_damaged_object_is_named_and_survived(s3: FlakyS3, uri: str) -> None:
    Store(uri).append_trials([row(1)])
    good = Store(uri)
    name = good.append_trials([row(2)]) or good.own_parts["trials"][0]
    content = good.storage.fetch("trials", name).to_pybytes()
    torn = (
        content[:200],
        b"PAR1" + bytes(50) + content[-8:],
        content[:40] + bytes(300) + content[340:],
    )
    for number, data in enumerate(torn):
        good.storage.write("trials", f"part-torn-{number}.parquet", data)
    store = Store(uri)
    assert store.results(["seed", "model"]).num_rows == 2
    assert {path for path, _ in store.damaged} >= {
        "trials/part-torn-0.parquet",
        "trials/part-torn-1.parquet",
    }


def test_a_listing_that_lags_behind_a_compaction_costs_no_row(
    s3: FlakyS3, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(3):
        Store(uri).append_trials([row(seed)])
    stale = part_names(Store(uri).storage, "trials")
    compact(Store(uri))
    assert set(stale).isdisjoint(part_names(Store(uri).storage, "trials"))
    real, calls = storage.ObjectStorage.names, []

    def lagging(self: storage.ObjectStorage, folder: str) -> list[str]:
        calls.append(folder)
        return stale if len(calls) <= 3 else real(self, folder)

    monkeypatch.setattr(storage.ObjectStorage, "names", lagging)
    store = Store(uri)
    assert store.results(["seed"]).num_rows == 3
    assert store.damaged == []


def test_a_bucket_that_does_not_exist_is_said_in_words(s3: FlakyS3) -> None:
    with pytest.raises(StoreError, match="no-such-bucket"):
        Store("s3://no-such-bucket/x").append_trials([row(1)])


def test_nothing_is_ever_overwritten_but_heartbeats(s3: FlakyS3, uri: str) -> None:
    for _ in range(2):
        executor = InlineExecutor(evaluator=NOOP)
        options = LaunchOptions(remeasure=True)
        run_sweep(sweep_of(5), Store(uri), executor, options, Listening())
    puts = [path for method, path in s3.requests if method == "PUT" and "/drivers/" not in path]
    assert len(puts) == len(set(puts)) > 0


def test_the_endpoint_of_the_environment_is_used(s3: FlakyS3) -> None:
    files, _ = pyarrow.fs.FileSystem.from_uri(f"s3://{BUCKET}/x")
    assert files.get_file_info(BUCKET).type == pyarrow.fs.FileType.Directory
