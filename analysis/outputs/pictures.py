"""A figure with what is written about it, for pages and folders that explain themselves."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO

from matplotlib.figure import Figure

from analysis.drawing.style import Look
from analysis.errors import MissingRowsError
from analysis.figures import registry
from analysis.rows.comparable import Selection
from orchestrator.store.store import Store


@dataclass(frozen=True)
class Picture:
    """One figure, its title and caption as texts, and the rows that it shows."""

    name: str
    figure: Figure
    title: str
    caption: str
    row_ids: tuple[str, ...]
    missing: tuple[MissingRowsError, ...] = ()


def picture(store: Store, selection: Selection, name: str, look: Look) -> Picture:
    """Draw one figure. Raises `MissingRowsError` if there is nothing to show."""
    figure, missing = registry.draw(store, selection, name, look)
    texts = _described(figure)
    rows = registry.FAMILIES[name].select(selection).row_ids
    shown = tuple(dict.fromkeys(map(str, rows)))
    return Picture(name, figure, texts["title"], texts["caption"], shown, missing)


def bare_svg(one: Picture, look: Look) -> str:
    """Return the figure without title and caption as a `data:` address of an SVG."""
    for text in one.figure.texts:
        text.set_visible(text.get_gid() not in ("title", "caption"))
    file = BytesIO()
    with look.drawing():
        one.figure.savefig(file, format="svg", bbox_inches="tight", metadata={"Date": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def _described(figure: Figure) -> Mapping[str, str]:
    """Return title and caption as they stand on the figure, without its line breaks."""
    found = {"title": "", "caption": ""}
    for text in figure.texts:
        if text.get_gid() in found:
            found[str(text.get_gid())] = " ".join(text.get_text().split())
    return found
