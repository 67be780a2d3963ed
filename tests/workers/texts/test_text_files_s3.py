"""`file:s3://…`: texts in an object store are read and fingerprinted like local ones."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.flaky_s3 import BUCKET, FlakyS3, flaky_s3
from workers.contract.errors import CorpusError
from workers.contract.spec import EvalSpec
from workers.revisions import resolve
from workers.texts.corpora import read_documents

TEXTS = ["The first.", "The secönd.", "The third."]


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[FlakyS3]:
    with flaky_s3() as endpoint:
        for name, value in endpoint.environment.items():
            monkeypatch.setenv(name, value)
        client().create_bucket(Bucket=BUCKET)
        yield endpoint


def client() -> Any:
    return boto3.client("s3")


def put(name: str, data: bytes) -> EvalSpec:
    client().put_object(Bucket=BUCKET, Key=name, Body=data)
    return spec(name)


def spec(name: str) -> EvalSpec:
    return EvalSpec(
        model="a/b", model_revision="0" * 40, dataset=f"file:s3://{BUCKET}/{name}", method="dense"
    )


def parquet() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"text": TEXTS}), sink)
    return sink.getvalue().to_pybytes()


def test_every_format_is_read_from_an_object_store(s3: FlakyS3) -> None:
    lines = "\n".join(json.dumps(text) for text in TEXTS).encode()
    specs = [
        put("books.parquet", parquet()),
        put("books.jsonl", lines),
        put("books.json", json.dumps(TEXTS).encode()),
    ]
    for found in map(read_documents, specs):
        assert [document.text for document in found] == TEXTS
    (document,) = read_documents(put("book.txt", TEXTS[1].encode()))
    assert document.text == TEXTS[1]


def test_an_object_is_identified_by_its_bytes(s3: FlakyS3) -> None:
    first = resolve(put("one.txt", b"one"))
    assert first.dataset_revision == hashlib.sha256(b"one").hexdigest()
    assert resolve(put("moved.txt", b"one")).run_id == first.run_id
    assert resolve(put("one.txt", b"another")).run_id != first.run_id


def test_an_object_that_is_missing_or_refused_is_named(s3: FlakyS3) -> None:
    with pytest.raises(CorpusError, match=r"nowhere\.txt"):
        read_documents(spec("nowhere.txt"))
    with pytest.raises(CorpusError, match=r"nowhere\.txt: cannot be read"):
        resolve(spec("nowhere.txt"))
    s3.fault = lambda method, path: 403
    with pytest.raises(CorpusError, match=r"one\.txt: cannot be read"):
        read_documents(spec("one.txt"))
