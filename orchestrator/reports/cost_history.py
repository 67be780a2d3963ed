"""What the store knows about cost: how long its texts are and how fast its evaluations went."""

from collections import defaultdict
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from workers.contract.cost import Text, text_from_limits, token_forwards
from workers.contract.spec import EvalSpec, columns, from_columns

_TEXT_KEY = (
    "model",
    "model_revision",
    "dataset",
    "dataset_revision",
    "split",
    "max_documents",
    "max_tokens",
    "empty_documents",
)
_RATE_KEY = ("model", "model_revision", "dtype", "method", "measure")
_COST = (
    *("n_sink", "window_size", "recompute_stride", "recompute_blocks"),
    *("decode_tokens", "warmup_tokens", "repeats"),
)
_SPEC = tuple(dict.fromkeys((*_TEXT_KEY, *_RATE_KEY, *_COST)))
COLUMNS = (
    *_SPEC,
    *("run_id", "status", "device_name", "n_documents", "n_tokens", "started_at", "finished_at"),
)
"""What has to be read from the store."""

_Key = tuple[Any, ...]


class History:
    """The `ok` rows of a store; speeds are those of the device that ran most lately."""

    overhead_seconds = 0.0
    """Rows do not tell how long starting took …"""
    evaluators = 1
    """… nor how many evaluations will run side by side."""

    def __init__(self, trials: pa.Table) -> None:
        """Take a table of `COLUMNS`."""
        timed = pc.and_(pc.is_valid(trials["started_at"]), pc.is_valid(trials["n_documents"]))
        rows = trials.filter(pc.and_(pc.equal(trials["status"], pa.scalar("ok")), timed))
        self.devices: list[str] = sorted(filter(None, pc.unique(rows["device_name"]).to_pylist()))
        """Every device that has results in the store."""
        self.device: str | None = None
        """The device whose speeds are used; None without any history."""
        named = rows.filter(pc.is_valid(rows["device_name"]))
        if named.num_rows:
            latest = pc.index(named["finished_at"], pc.max(named["finished_at"])).as_py()
            self.device = str(named["device_name"][latest].as_py())
        groups = _groups(rows)
        self._texts = {_key(spec, _TEXT_KEY): text for spec, text, *_ in groups if text.is_exact}
        self._rates = _rates([group for group in groups if group[2] == self.device])

    def text(self, spec: EvalSpec) -> Text | None:
        """Return the length of a spec's text: as evaluated before, else from its limits."""
        return self._texts.get(_key(spec, _TEXT_KEY)) or text_from_limits(spec)

    def problems(self) -> tuple[str, ...]:
        """Return nothing: what is in the store could be run."""
        return ()

    def seconds(self, spec: EvalSpec, text: Text, _sizes: Any = None) -> float | None:
        """Return how long an evaluation takes, from those of its model, dtype, method, measure."""
        rate = self._rates.get(_key(spec, _RATE_KEY))
        return None if rate is None else rate * token_forwards(spec, text)


_Group = tuple[EvalSpec, Text, str | None, int, float]
"""Spec (without its seed), text, device, number of rows, seconds of all of them."""


def _groups(rows: pa.Table) -> list[_Group]:
    """Summarise rows per kind of evaluation: millions of rows are few kinds."""
    elapsed = pc.subtract(rows["finished_at"], rows["started_at"]).cast(pa.int64())
    joined: Any = pc.binary_join(rows["measure"], "+")  # a list cannot be grouped by
    table = rows.set_column(rows.column_names.index("measure"), "measure", joined)
    table = table.append_column("elapsed", elapsed)
    grouped = table.group_by([*_SPEC, "device_name"]).aggregate(
        [("elapsed", "sum"), ("elapsed", "count"), ("n_documents", "max"), ("n_tokens", "max")]
    )
    groups: list[_Group] = []
    for row in grouped.to_pylist():
        spec = from_columns({**row, "measure": row["measure"].split("+")})
        text = text_from_limits(spec)
        if row["n_tokens_max"] is not None and spec.recompute_blocks is None:
            documents = row["n_documents_max"]
            text = Text(documents, row["n_tokens_max"] + documents, is_exact=True)
        if text is not None:
            took = (row["elapsed_count"], row["elapsed_sum"] / 1e6)
            groups.append((spec, text, row["device_name"], *took))
    return groups


def _rates(groups: list[_Group]) -> dict[_Key, float]:
    work: dict[_Key, int] = defaultdict(int)
    seconds: dict[_Key, float] = defaultdict(float)
    for spec, text, _, count, elapsed in groups:
        key = _key(spec, _RATE_KEY)
        work[key] += count * token_forwards(spec, text)
        seconds[key] += elapsed
    return {key: seconds[key] / work[key] for key in work if work[key]}


def _key(spec: EvalSpec, names: tuple[str, ...]) -> _Key:
    values = columns(spec) | {"measure": tuple(spec.measure)}
    return tuple(values[name] for name in names)
