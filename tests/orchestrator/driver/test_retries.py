import pytest

from orchestrator.driver.retries import FREE_LOSSES, History, Retry, after_failure
from workers.contract.events import Finished
from workers.contract.failures import classify, usable_after


@pytest.mark.parametrize(
    ("error_type", "message", "kind"),
    [
        ("SpecError", "", "invalid"),
        ("UnsupportedModelError", "", "invalid"),
        ("CorpusError", "", "invalid"),
        ("NumericalError", "", "numerical"),
        ("ModelLoadError", "", "model_load"),
        ("torch.OutOfMemoryError", "CUDA out of memory. Tried", "cuda_oom"),
        ("DeviceMemoryError", "", "cuda_oom"),
        ("RuntimeError", "CUDA error: out of memory", "cuda_oom"),
        ("RuntimeError", "CUDA error: an illegal memory access", "device"),
        ("AcceleratorError", "CUDA error: device-side assert", "device"),
        ("MemoryError", "", "host_oom"),
        ("RuntimeError", "shapes differ", "error"),
        ("KeyError", "", "error"),
        (None, None, "error"),
    ],
)
def test_failures_are_told_apart(error_type: str | None, message: str | None, kind: str) -> None:
    assert classify(error_type, message) == kind


@pytest.mark.parametrize("kind", ["worker_lost", "node_lost"])
def test_losses_do_not_count_up_to_the_stated_limit(kind: str) -> None:
    history = History()
    for _ in range(FREE_LOSSES[kind]):
        assert after_failure(history, kind, {}, max_attempts=1) is not None
    assert history.counted == 0
    assert after_failure(history, kind, {}, max_attempts=1) is None


def test_the_delay_doubles_and_is_bounded() -> None:
    history = History()
    delays = []
    for _ in range(12):
        retry = after_failure(history, "error", {}, max_attempts=100)
        assert isinstance(retry, Retry)
        delays.append(retry.delay)
    assert delays[:4] == [0.5, 1.0, 2.0, 4.0]
    assert delays[-1] == 60.0


def test_out_of_memory_halves_the_chunk_that_failed() -> None:
    history = History()
    assert after_failure(history, "cuda_oom", {"chunk_size": 512}, max_attempts=3) == Retry(0.0)
    assert history.chunk_limit == 256


@pytest.mark.parametrize(
    ("row", "usable"),
    [
        ({"status": "ok"}, True),
        ({"status": "failed", "error_type": "ValueError"}, True),
        ({"status": "failed", "error_type": "OutOfMemoryError"}, False),
        ({"status": "failed", "error_type": "AcceleratorError"}, False),
    ],
)
def test_an_evaluator_is_replaced_after_errors_of_device_and_memory(
    row: dict[str, str], usable: bool
) -> None:
    assert usable_after(Finished(row=row)) is usable
    assert not usable_after(Finished(row=row, evaluator_usable=False))
