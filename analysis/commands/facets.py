"""Which groups of rows the figures of one run show, and the options that show the others."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.errors import UsageError
from orchestrator.words import counted

if TYPE_CHECKING:
    import pandas as pd

    from analysis.rows.comparable import Selection

MOST = 4
"""Groups in one figure unless more are asked for."""
MOST_ASKED = 12
SHOWN = 6
"""Names in a message; the rest is counted."""


def groups(frame: "pd.DataFrame", options: Mapping[str, Any], store: str) -> "dict[str, Selection]":
    """Return the groups to draw, by the name of their facet; one group has no name.

    Raises `UsageError` for options that contradict each other.
    """
    from analysis.rows import comparable

    asked = [name for name in ("facet", "hue") if options[name]]
    if len(asked) == 2:
        raise UsageError("--facet and --hue tell the same rows apart; choose one of them")
    where = {"store": store, "stride": options["stride"]}
    by = options[asked[0]] if asked else next(iter(comparable.spread(frame)), None)
    if by is None:
        return comparable.on_one_text({"": comparable.choose(frame, **where)})
    rows = frame
    if not asked:  # only what has compared results
        column = frame[comparable.FACETS[by]]
        paired = frame["quality_partner"].notna() | frame["speed_partner"].notna()
        shown = column.isin(column[paired].dropna().unique())
        rows = frame if shown.all() else frame[shown]
    found = comparable.split(rows, by, **where)
    found = comparable.fullest(found, MOST_ASKED if asked else MOST)
    if len(found) == 1:
        found = {"": next(iter(found.values()))}
    return found if by == "text" else comparable.on_one_text(found)


def one_by_one(frame: "pd.DataFrame", options: Mapping[str, Any]) -> str:
    """Return the end of a message about a figure that has no room for all of its groups."""
    from analysis.rows import comparable

    by = options["facet"] or options["hue"] or comparable.spread(frame)[0]
    return f"; --each {by} draws a figure for each {by}"


def notes_left_out(
    frame: "pd.DataFrame", found: "Mapping[str, Selection]", options: Mapping[str, Any]
) -> Iterator[str]:
    """Say what the figures do not show, and the options that do."""
    import pandas as pd

    from analysis.rows.comparable import FACETS

    shown = pd.concat([group.rows for group in found.values()])
    for name, column in FACETS.items():
        if name == "text":
            continue
        others = sorted({*frame[column].dropna().unique()} - {*shown[column].dropna().unique()})
        if others:
            yield _shown_by(f"{name}s" if name != "dtype" else "number formats", others, name)
    texts = {group.text for group in found.values()} - {None}
    others = sorted({*shown["dataset"].unique()} - texts) if texts else []
    if others:
        only = ", ".join(sorted(map(str, texts)))
        yield f"figures of a single text show {only}; {_shown_by('texts', others, 'text')}"
    hidden = len(frame) - len(shown)
    lengths = sum(
        count for group in found.values() for why, count in group.left_out if "text" in why
    )
    if hidden and lengths:
        yield (
            f"not shown: {counted(lengths, 'result')} at other lengths or revisions of a text; "
            "--where max_tokens=N shows them"
        )


def _shown_by(what: str, names: list[Any], option: str) -> str:
    some = ", ".join(map(str, names[:SHOWN]))
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"not shown: {what} {some}{more}; --each {option} or --facet {option} shows them"
