"""Failures are grouped by cause, with their number and one whole message."""

from orchestrator.progress.causes import NOT_TRIED, grouped
from orchestrator.progress.snapshot import GivenUp


def test_failures_of_one_cause_are_one_entry_with_the_whole_message() -> None:
    message = "cannot load the model\nno network"
    causes = grouped(
        [
            GivenUp("1", "a", "error", "odd one"),
            GivenUp("2", "b", "model_load", message, "2.log"),
            GivenUp("3", "c", "model_load", NOT_TRIED + message),
        ]
    )
    assert [(cause.evaluations, cause.message) for cause in causes] == [
        (2, message),
        (1, "odd one"),
    ]
    assert causes[0].lines() == [
        "failed (model_load), 2 evaluations: cannot load the model",
        "  no network",
        "  for example b",
        "  log: 2.log",
    ]
    assert causes[1].lines() == ["failed (error), a: odd one"]
