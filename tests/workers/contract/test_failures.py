"""Which kind of failure an exception is, and who may go on after it."""

import pytest
import torch

from workers.contract import errors
from workers.contract.failures import Failure, first_line, kind_of

REAL = [
    (errors.SpecError([("model", "wrong")]), "invalid", True),
    (errors.UnsupportedModelError(), "invalid", True),
    (errors.CorpusError(), "invalid", True),
    (errors.NumericalError(), "numerical", True),
    (errors.ModelLoadError(), "model_load", True),
    (torch.OutOfMemoryError("CUDA out of memory. Tried"), "cuda_oom", False),
    (errors.DeviceMemoryError(), "cuda_oom", False),
    (RuntimeError("CUDA error: out of memory"), "cuda_oom", False),
    (RuntimeError("CUDA error: an illegal memory access"), "device", False),
    (torch.AcceleratorError("device-side assert"), "device", False),
    (MemoryError(), "host_oom", False),
    (RuntimeError("shapes differ"), "error", True),
    (KeyError("x"), "error", True),
]


@pytest.mark.parametrize(("error", "kind", "usable"), REAL, ids=lambda value: repr(value)[:40])
def test_failures_are_told_apart(error: Exception, kind: str, usable: bool) -> None:
    assert kind_of(error) == kind
    assert Failure.of(error).evaluator_usable is usable


def test_a_subclass_counts_as_its_base() -> None:
    class Gated(errors.ModelLoadError):
        pass

    assert kind_of(Gated("ask for access")) == "model_load"


def test_a_failure_keeps_type_message_and_traceback() -> None:
    try:
        raise ValueError("first\nsecond")
    except ValueError as error:
        columns = Failure.of(error).columns()
    assert (columns["error_type"], columns["error_kind"]) == ("ValueError", "error")
    assert "raise ValueError" in columns["traceback"]
    assert first_line(columns["error_message"]) == "first"
    assert first_line(None) == ""
