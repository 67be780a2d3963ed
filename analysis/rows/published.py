"""Numbers that others published, shipped as data with their source, for `--published`.

They are drawn beside measured ones, never mixed with them: another machine, another text.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from workers.contract.spec import RANDOM_MODEL_PREFIX

ROLES = {"recompute": "baseline", "streaming": "streaming"}


@dataclass(frozen=True)
class Curve:
    """One published curve."""

    label: str
    method: str
    budgets: list[int]
    values: list[float]

    @property
    def role(self) -> str:
        """The colour of the curve's method, as a key of the palette."""
        return ROLES[self.method]


@cache
def data() -> dict[str, Any]:
    """Return the shipped file: `source`, `perplexities`, `latencies`."""
    text = files("analysis").joinpath("data/published.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def base_name(model: str) -> str:
    """Return the published name that a model goes by: `random:llama-2-7b` is `llama-2-7b`."""
    name = model.removeprefix(RANDOM_MODEL_PREFIX).rpartition("/")[2].lower()
    return name.removesuffix("-hf")


def latencies(model: str) -> Iterator[Curve]:
    """Yield the published latencies of this architecture."""
    rows = [row for row in data()["latencies"] if row["model"] == base_name(model)]
    for method in ROLES:
        curve = [row for row in rows if row["method"] == method]
        if curve:
            label = f"{method}, paper, {curve[0]['device'].split()[-1]}"
            budgets = [row["budget"] for row in curve]
            yield Curve(label, method, budgets, [row["latency_ms"] for row in curve])


def perplexities(model: str, method: str, dataset: str) -> list[dict[str, Any]]:
    """Return the published perplexities of this model and method on this text."""
    return [
        row
        for row in data()["perplexities"]
        if row["model"] == base_name(model) and row["method"] == method and dataset == "pg19"
    ]


def models() -> list[str]:
    """Return the models that something was published for."""
    return sorted({row["model"] for part in ("perplexities", "latencies") for row in data()[part]})
