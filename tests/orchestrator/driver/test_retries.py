import pytest

from orchestrator.driver.retries import AttemptHistory, Retry, RetryRules, after_failure


@pytest.mark.parametrize("kind", ["worker_lost", "node_lost"])
def test_losses_do_not_count_up_to_the_stated_limit(kind: str) -> None:
    history, rules = AttemptHistory(), RetryRules(max_attempts=1)
    for _ in range(10):
        assert after_failure(history, kind, {}, rules) is not None
    assert history.counted == 0
    assert after_failure(history, kind, {}, rules) is None


def test_the_delay_doubles_and_is_bounded() -> None:
    history = AttemptHistory()
    delays = []
    for _ in range(12):
        retry = after_failure(history, "error", {}, RetryRules(max_attempts=100))
        assert isinstance(retry, Retry)
        delays.append(retry.delay)
    assert delays[:4] == [0.5, 1.0, 2.0, 4.0]
    assert delays[-1] == 60.0


def test_out_of_memory_halves_the_chunk_that_failed() -> None:
    history = AttemptHistory()
    assert after_failure(history, "cuda_oom", {"chunk_size": 512}, RetryRules()) == Retry(0.0)
    assert history.chunk_limit == 256


def test_what_reading_again_cannot_help_is_not_read_again() -> None:
    permanent, passing = {"error_type": "ModelRefusedError"}, {"error_type": "ModelLoadError"}
    assert after_failure(AttemptHistory(), "model_load", permanent, RetryRules()) is None
    assert after_failure(AttemptHistory(), "model_load", passing, RetryRules()) is not None
