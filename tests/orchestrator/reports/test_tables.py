"""Tables of values: aligned, folded to a terminal, and names that are nothing else."""

from orchestrator.reports.tables import aligned, in_markdown

LINES = [["model", "data set", "to run", "time"], ["demo", "pydoc", "6", "unknown"]]
RIGHT = [False, False, True, False]


def test_columns_stand_below_each_other() -> None:
    wanted = ["model  data set  to run  time", "demo   pydoc          6  unknown"]
    assert aligned(LINES, RIGHT) == aligned(LINES, RIGHT, 80) == wanted


def test_what_is_wider_than_the_terminal_goes_on_below() -> None:
    wanted = ["model  data set\n  to run  time", "demo   pydoc\n       6  unknown"]
    assert aligned(LINES, RIGHT, 20) == wanted
    for room in range(10, 40):
        texts = aligned(LINES, RIGHT, room)
        assert all(len(line) <= room for text in texts for line in text.split("\n"))
        assert [text.split() for text in texts] == [" ".join(line).split() for line in LINES]


def test_no_sign_of_a_name_means_anything_in_markdown() -> None:
    assert in_markdown("a_b#c & d\ne") == "a_b#c & d e"
    assert in_markdown("_a_ #1 *b* `c` ~d~ $e$ &lt;<f>|[g](h)\\") == (
        r"\_a\_ \#1 \*b\* \`c\` \~d\~ \$e\$ \&lt;\<f\>\|\[g\](h)" + "\\\\"
    )
