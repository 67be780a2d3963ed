"""Texts from the Hub: cached, downloaded, unreachable.

Each case runs in a process of its own, because the Hub's settings are read at import.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.support.local_hub import serve
from workers.texts.hub_corpora import HUB_CORPORA

ROWS = ["", " = Robert Boulter = \n", "", " An English actor . \n", " = = Career = = \n"]
STREAM = "= Robert Boulter =\n\nAn English actor .\n\n= = Career = ="
BOOKS = ["  The first book.\n\n\nIt has blank lines.\n", "The second.", "The third."]

READ = """
import json, sys
from workers.texts.corpora import read_documents
from workers.contract.errors import CorpusError
from workers.contract.spec import EvalSpec
try:
    found = read_documents(EvalSpec(model="demo", method="dense", **json.loads(sys.argv[1])))
    result = [document.text for document in found]
except CorpusError as error:
    result = str(error)
print(json.dumps({"result": result, "datasets_imported": "datasets" in sys.modules}))
"""


def read_elsewhere(home: Path, fields: dict[str, Any], **environment: str) -> dict[str, Any]:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    variables |= {"HF_HOME": str(home), **environment}
    done = subprocess.run(
        [sys.executable, "-c", READ, json.dumps(fields)],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def write(path: Path, rows: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"text": rows}), path)


def cache(home: Path, dataset: str, file: str, rows: list[str]) -> None:
    """Put a file into the Hub's local cache, as `hf download` does."""
    corpus = HUB_CORPORA[dataset]
    repo = home / "hub" / f"datasets--{corpus.repo.replace('/', '--')}"
    write(repo / "snapshots" / corpus.revision / corpus.folder / file, rows)
    (repo / "refs").mkdir(exist_ok=True)
    (repo / "refs" / "main").write_text(corpus.revision)


def test_cached_hub_texts_are_read_offline_and_without_datasets(tmp_path: Path) -> None:
    cache(tmp_path, "wikitext-103", "test-00000-of-00001.parquet", ROWS)
    cache(tmp_path, "pg19", "test-00000-of-00001-29a571947c0b5ccc.parquet", BOOKS)
    offline = {"HF_HUB_OFFLINE": "1"}
    wikitext = read_elsewhere(tmp_path, {"dataset": "wikitext-103"}, **offline)
    assert wikitext == {"result": [STREAM], "datasets_imported": False}
    pg19 = read_elsewhere(tmp_path, {"dataset": "pg19", "max_documents": 2}, **offline)
    assert pg19 == {"result": BOOKS[:2], "datasets_imported": False}
    main = read_elsewhere(tmp_path, {"dataset": "pg19", "dataset_revision": "main"}, **offline)
    assert main["result"] == BOOKS


def test_shards_are_read_in_order_and_only_when_all_are_cached(tmp_path: Path) -> None:
    cache(tmp_path, "pg19", "train-00001-of-00002.parquet", BOOKS[2:])
    fields = {"dataset": "pg19", "split": "train"}
    assert (
        "--include 'data/train-*'" in read_elsewhere(tmp_path, fields, HF_HUB_OFFLINE="1")["result"]
    )
    cache(tmp_path, "pg19", "train-00000-of-00002.parquet", BOOKS[:2])
    assert read_elsewhere(tmp_path, fields, HF_HUB_OFFLINE="1")["result"] == BOOKS


def test_an_uncached_text_is_downloaded_by_datasets_and_only_its_split(tmp_path: Path) -> None:
    folder = tmp_path / "hub" / "datasets" / "Salesforce" / "wikitext" / "wikitext-103-v1"
    write(folder / "test-00000-of-00001.parquet", ROWS)
    (folder / "train-00000-of-00001.parquet").write_text("reading this would fail")
    with serve(tmp_path / "hub") as endpoint:
        found = read_elsewhere(tmp_path, {"dataset": "wikitext-103"}, HF_ENDPOINT=endpoint)
        missing = read_elsewhere(
            tmp_path, {"dataset": "wikitext-103", "split": "tset"}, HF_ENDPOINT=endpoint
        )
    assert found == {"result": [STREAM], "datasets_imported": True}
    assert "split 'tset' cannot be loaded" in missing["result"]
    again = read_elsewhere(tmp_path, {"dataset": "wikitext-103"}, HF_HUB_OFFLINE="1")
    assert again == {"result": [STREAM], "datasets_imported": False}


def test_an_unreachable_hub_is_answered_with_three_ways_out(tmp_path: Path) -> None:
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9"}  # the discard port: nothing listens
    refused = read_elsewhere(tmp_path, {"dataset": "wikitext-103"}, **nowhere)["result"]
    message = read_elsewhere(tmp_path, {"dataset": "wikitext-103"}, HF_HUB_OFFLINE="1")["result"]
    assert refused.split(";")[1] == message.split(";")[1]
    revision = HUB_CORPORA["wikitext-103"].revision
    command = f"hf download --repo-type dataset Salesforce/wikitext --revision {revision}"
    assert command in message
    assert "file:PATH" in message
    assert "--grid quickstart" in message
    assert "\n" not in message
