"""Random texts in every format, encoding and compression, whole and damaged.

What is read must be what was written; a plan must see what an evaluation will see; and whatever
bytes a file holds, there are documents or a `CorpusError`, and nothing else.
"""

import bz2
import csv
import gzip
import io
import json
import lzma
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from orchestrator.reports.text_report import text_warnings
from workers.contract.errors import CorpusError
from workers.contract.spec import EvalSpec
from workers.models.loading import LoadedModel, load_model
from workers.revisions import resolve
from workers.texts.text_files import read_file_texts
from workers.texts.tokens import TokenisedDocument, tokenised_documents

Texts = list[str | None]
ALPHABET = [*"abc XYZ.,;:'\"\n\r\t{}[]()<>$#%&|\\/é中🙂\u2028\u200f\x0b", "</s>"]
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda data: _arrow(data, "zstd"),
    "lz4": lambda data: _arrow(data, "lz4"),
}


def _arrow(data: bytes, codec: Literal["zstd", "lz4"]) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, codec) as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


def check(seed: int, folder: Path) -> str:
    """Compare one random text; returns what it was."""
    draw = random.Random(seed)
    file_format = draw.choice(["txt", "md", "json", "jsonl", "csv", "tsv", "parquet"])
    texts = random_texts(draw, file_format)
    data = WRITERS[file_format](draw, texts)
    if file_format != "parquet":
        data = encoded(draw, data)
    name = f"a {seed}.{spelling(draw, file_format, len(texts))}"
    for _ in range(draw.choice([0, 0, 1, 1, 2])):
        packer = draw.choice([*PACKERS])
        data = PACKERS[packer](data)
        name += draw.choice(["", f".{packer}", ".gz"]) if name.count(".") == 1 else ""
    if damaged := draw.random() < 0.3:
        data = damage(draw, data)
    path = folder / name
    path.write_bytes(data)
    found, refusal = read(path)
    assert damaged or found is not None, refusal
    assert found is not None or str(path) in refusal
    if not damaged:
        assert found == texts, (name, found, texts)
    what_a_plan_says_is_what_happens(draw, path)
    return "refused" if found is None else "damaged, read" if damaged else "read"


def what_a_plan_says_is_what_happens(draw: random.Random, path: Path) -> None:
    try:
        spec = resolve(
            EvalSpec(
                model="demo",
                dataset=f"file:{path}",
                method="dense",
                max_tokens=draw.choice([None, 2, 50]),
                max_documents=draw.choice([None, 1, 2]),
                empty_documents=draw.choice(["refuse", "skip"]),
            )
        )
    except CorpusError:
        return
    warnings = text_warnings([spec])
    promised = not any("will fail" in warning for warning in warnings)
    documents, refusal = evaluated(spec)
    assert promised or refusal, warnings
    assert not (promised and refusal), refusal
    if refusal:
        return
    skipped = sum(document.skipped for document in documents)
    assert bool(skipped) == any("left out" in warning for warning in warnings), warnings
    assert len(documents) <= (spec.max_documents or len(documents))


def read(path: Path) -> tuple[Texts | None, str]:
    try:
        return [text for _, _, text in read_file_texts(f"file:{path}")], ""
    except CorpusError as error:
        return None, str(error)


def evaluated(spec: EvalSpec) -> tuple[list[TokenisedDocument], str]:
    try:
        return tokenised_documents(spec, demo()), ""
    except CorpusError as error:
        return [], str(error)


@cache
def demo() -> LoadedModel:
    spec = resolve(EvalSpec(model="demo", dataset="pydoc", method="dense"))
    return load_model(spec, torch.device("cpu"))


def random_texts(draw: random.Random, file_format: str) -> Texts:
    def one() -> str | None:
        kind = draw.random()
        if kind < 0.1:
            return draw.choice(["", " ", "\n", "a"])
        if kind < 0.15 and file_format in ("json", "jsonl", "parquet"):
            return None
        return "".join(draw.choice(ALPHABET) for _ in range(draw.randint(1, 60)))

    if file_format in ("txt", "md"):
        return [one() or "x"]
    return [one() for _ in range(draw.randint(1, 6))]


def _json(draw: random.Random, texts: Texts) -> str:
    ascii_only, indent = draw.random() < 0.5, draw.choice([None, 1])
    values = [
        *(texts, [{"text": text, "n": 1} for text in texts]),
        {"title": "t", "text": texts if len(texts) != 1 or draw.random() < 0.5 else texts[0]},
    ]
    return json.dumps(draw.choice(values), ensure_ascii=ascii_only, indent=indent)


def _jsonl(draw: random.Random, texts: Texts) -> str:
    ascii_only, as_objects = draw.random() < 0.5, draw.random() < 0.8
    lines = [
        json.dumps({"id": 1, "text": text} if as_objects else text, ensure_ascii=ascii_only)
        for text in texts
    ]
    return draw.choice(["\n", "\n\n", "\r\n"]).join(lines) + draw.choice(["", "\n"])


def _table(draw: random.Random, texts: Texts, delimiters: str) -> str:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter=draw.choice(delimiters))
    writer.writerows([["id", "text", "more"], *([1, text, "b"] for text in texts)])
    return stream.getvalue()


def _parquet(draw: random.Random, texts: Texts) -> bytes:
    kind = draw.choice([pa.string(), pa.large_string()])
    table = pa.table({"text": pa.array(texts, kind), "n": list(range(len(texts)))})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=draw.randint(1, 4))
    return sink.getvalue().to_pybytes()


WRITERS: dict[str, Callable[[random.Random, Texts], str | bytes]] = {
    "txt": lambda draw, texts: texts[0] or "",
    "md": lambda draw, texts: texts[0] or "",
    "json": _json,
    "jsonl": _jsonl,
    "csv": lambda draw, texts: _table(draw, texts, ",;\t"),
    "tsv": lambda draw, texts: _table(draw, texts, "\t"),
    "parquet": _parquet,
}


def encoded(draw: random.Random, text: str | bytes) -> bytes:
    assert isinstance(text, str)
    return text.encode(draw.choice(["utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-32"]))


def spelling(draw: random.Random, file_format: str, count: int) -> str:
    """Return an ending that is right, or one that is wrong and harmless."""
    others = {"txt": ["text", "TXT"], "md": ["markdown"], "jsonl": ["ndjson"]}.get(file_format, [])
    if file_format == "jsonl" and count > 1:
        others = [*others, "json"]
    return draw.choice([file_format, *others])


def damage(draw: random.Random, data: bytes) -> bytes:
    kind = draw.randrange(4)
    at = draw.randrange(len(data) + 1)
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[:at] + draw.randbytes(draw.randint(1, 8)) + data[at + 4 :]
    if kind == 2:
        return draw.choice([b"PK\x03\x04", b"%PDF-", b"\x1f\x8b", b"PAR1", b"\xff\xfe"]) + data
    return data[:at] + b"\x00" + data[at:]
