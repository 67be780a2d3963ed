"""Tokens counted without the model: exact for short texts, close for long ones."""

import subprocess
import sys
from pathlib import Path

import pytest

from workers.contract.errors import SinkSweepError
from workers.contract.spec import EvalSpec
from workers.models.sources import source_of
from workers.models.tokenizer import read_tokenizer
from workers.texts.corpora import read_documents
from workers.texts.heldout import pydoc_topics
from workers.texts.lengths import Lengths


def spec(path: Path, **changes: object) -> EvalSpec:
    fields = {"model": "demo", "dataset": f"file:{path}", "method": "streaming", **changes}
    return EvalSpec(**fields)  # type: ignore[arg-type]


def n_tokens(text: str, one: EvalSpec) -> int:
    return len(read_tokenizer(source_of(one))(text)["input_ids"])


def test_a_short_text_is_counted_exactly(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text("Once upon a time. " * 50)
    found = Lengths().text(spec(path))
    assert (found.n_documents, found.is_exact) == (1, True)
    assert found.n_tokens == n_tokens(path.read_text(), spec(path))


def test_a_limit_of_tokens_is_what_is_counted_up_to(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text("Once upon a time. " * 5000)
    found = Lengths().text(spec(path, max_tokens=100))
    assert (found.n_tokens, found.is_exact) == (100, True)


def test_of_a_long_text_passages_tell_its_length(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    topics = list(pydoc_topics(held_out=False).values())
    path.write_text("\n\n".join(topics)[:400_000])
    found = Lengths().text(spec(path))
    assert found.is_sampled
    assert found.n_tokens == pytest.approx(n_tokens(path.read_text(), spec(path)), rel=0.1)


@pytest.mark.parametrize("data", [b"", b"caf\xe9"], ids=["empty", "latin1"])
def test_a_text_that_cannot_be_evaluated_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes(data)
    with pytest.raises(SinkSweepError, match=r"t\.txt"):
        Lengths().text(spec(path))


def test_the_trained_positions_of_the_model_are_known(tmp_path: Path) -> None:
    assert Lengths().positions(spec(tmp_path / "t.txt")) == 256
    assert Lengths().positions(spec(tmp_path / "t.txt", model="random:pythia-70m")) == 2048


def test_the_shipped_tokenizer_counts_alike_with_and_without_transformers() -> None:
    tokenizer = read_tokenizer(source_of(EvalSpec(model="demo", dataset="pydoc", method="dense")))
    (document,) = read_documents(EvalSpec(model="demo", dataset="pydoc", method="dense"))
    spec = EvalSpec(model="demo", dataset="pydoc", method="dense")
    assert Lengths().text(spec).n_tokens == len(tokenizer(document.text)["input_ids"])


def test_a_plan_of_the_quickstart_loads_neither_torch_nor_transformers(tmp_path: Path) -> None:
    code = (
        "import sys; from orchestrator.cli import sweep\n"
        f"try: sweep(['plan', '--grid', 'quickstart', '--store', {str(tmp_path / 's')!r}])\n"
        "except SystemExit as ending: assert not ending.code\n"
        "print([name for name in ('torch', 'transformers', 'ray') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
