"""Counts for people."""

from orchestrator.words import counted


def test_one_thing_is_not_several() -> None:
    assert [counted(n, "row") for n in (0, 1, 2, 1000)] == [
        "0 rows",
        "1 row",
        "2 rows",
        "1,000 rows",
    ]
