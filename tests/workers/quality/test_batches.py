"""Short documents run together: which ones, and that nothing changes."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.support.models import random_ids, tiny
from workers.attention.visibility import DENSE, Visibility
from workers.contract.events import SpanDone
from workers.contract.rows import Span
from workers.contract.spec import EvalSpec
from workers.quality import scoring
from workers.quality.chunks import MOST_PADDING, Chunk, batches
from workers.quality.nll import stream_nll, stream_nll_together
from workers.quality.scoring import QualityPass
from workers.texts.tokens import TokenisedDocument


@given(st.lists(st.integers(0, 300)), st.integers(1, 512))
def test_batches_cover_every_document_once_and_keep_to_their_bounds(lengths, room):
    found = list(batches(lengths, lambda: room))
    assert [index for batch in found for index in batch] == list(range(len(lengths)))
    for batch in found:
        inside = [lengths[index] for index in batch]
        if len(inside) > 1:
            assert min(inside) > 0
            assert max(inside) * len(inside) <= min(room, MOST_PADDING * sum(inside))


def test_equal_documents_fill_the_room():
    assert list(batches([16] * 20, lambda: 256)) == [range(16), range(16, 20)]
    assert list(batches([200, 200], lambda: 256)) == [range(1), range(1, 2)]
    assert list(batches([16, 16, 0, 16, 16], lambda: 256)) == [range(2), range(2, 3), range(3, 5)]


@pytest.mark.parametrize("visibility", [DENSE, Visibility(2, 20), Visibility(0, 8)], ids=str)
@pytest.mark.parametrize("name", ["gpt_neox", "llama", "gemma2"])
def test_documents_together_have_the_losses_they_have_alone(name, visibility):
    loaded = tiny(name)
    documents = [random_ids(length, seed=length) for length in (60, 47, 2, 64)]
    together = stream_nll_together(loaded.model, loaded.rotary, documents, visibility)
    for ids, scored in zip(documents, together, strict=True):
        alone = torch.cat(
            [piece.nll for piece in stream_nll(loaded.model, loaded.rotary, ids, visibility)]
        )
        torch.testing.assert_close(scored.nll, alone, rtol=0, atol=1e-5)


def _documents(*lengths: int) -> list[TokenisedDocument]:
    fields = {"name": "a document", "starts_with_bos": False}
    return [
        TokenisedDocument(ids=random_ids(length, seed=index), n_bytes=length, **fields)
        for index, length in enumerate(lengths)
    ]


def _spans_and_columns(chunk: Chunk) -> tuple[list[Span], dict[str, Any]]:
    spec = EvalSpec(model="demo", dataset="pydoc", method="streaming", n_sink=2, window_size=20)
    running = QualityPass(tiny("llama"), spec, _documents(60, 47, 50), chunk).run(())
    spans = []
    while True:
        try:
            event = next(running)
        except StopIteration as end:
            return spans, end.value
        if isinstance(event, SpanDone):
            spans.append(event.row)


def test_out_of_memory_in_a_batch_runs_its_documents_one_by_one(monkeypatch):
    expected, together = _spans_and_columns(Chunk(256))

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(scoring, "stream_nll_together", full)
    chunk = Chunk(256)
    actual, alone = _spans_and_columns(chunk)
    assert chunk.size == 128
    assert [span["document"] for span in actual] == [0, 1]  # the last one's row follows at once
    for span, other in zip(actual, expected, strict=True):
        assert (span["document"], span["stop"]) == (other["document"], other["stop"])
        assert math.isclose(span["nll_sum"], other["nll_sum"], rel_tol=1e-6)
        assert span["is_last"]
    assert math.isclose(alone["nll_sum"], together["nll_sum"], rel_tol=1e-6)
    assert alone["n_tokens"] == together["n_tokens"] == 59 + 46 + 49
