"""`ablation_window_size` and `ablation_n_sink`: one setting varied, everything else held still.

Above, perplexity with its interval and, as bars on a second axis, the compression ratio; below,
the runtime, from 0, so that noise between repeats cannot look like an effect.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.drawing import captions
from analysis.errors import MissingRowsError
from analysis.rows.comparable import QUICKSTART, Selection
from analysis.rows.missing import command, entry

WINDOWS = (128, 256, 512, 1024)
SINKS = (0, 1, 2, 4, 8)
TOKENS = ("n_tokens", "sum")


@dataclass(frozen=True)
class Ablation:
    """The rows of one ablation, in the order of the varied setting, and what was held fixed."""

    selection: Selection
    varied: str
    """`window_size` or `n_sink`."""
    fixed: str
    """`n_sink`, `window_size` or `budget`."""
    fixed_value: int
    dataset: str
    rows: pd.DataFrame
    other_datasets: tuple[str, ...]
    missing: tuple[MissingRowsError, ...] = ()

    @property
    def candidates(self) -> pd.DataFrame:
        """The rows among which one may be the best, hollow ones only if there is no other.

        A perplexity that the audit calls unusable is not among them.
        """
        known = self.rows["perplexity"].notna() & self.rows["quality_unusable"].isna()
        measured = self.rows[known]
        filled = measured[~measured["hollow"]]
        return measured if filled.empty else filled

    @property
    def best(self) -> "pd.Series[Any] | None":
        """The row of the lowest perplexity; whether it may be called so, `blocks.lead` says."""
        candidates = self.candidates
        if candidates.empty:
            return None
        return candidates.iloc[int(candidates["perplexity"].to_numpy().argmin())]

    @property
    def row_ids(self) -> list[str]:
        """The rows that are drawn."""
        return [str(row_id) for row_id in self.rows["row_id"]]

    @property
    def block_rows(self) -> list[str]:
        """The rows whose blocks the paired intervals need."""
        return [str(row_id) for row_id in self.rows["row_id"]]


def select_window_size(selection: Selection) -> Ablation:
    """Pick the text and the number of sinks with the most window sizes."""
    return _select(selection, "window_size", ("n_sink",))


def select_n_sink(selection: Selection) -> Ablation:
    """Pick the text and the window (or the whole budget) with the most numbers of sinks."""
    return _select(selection, "n_sink", ("window_size", "budget"))


def _select(selection: Selection, varied: str, fixed: tuple[str, ...]) -> Ablation:
    rows = selection.rows[selection.rows["method"].eq("streaming")]
    # Reported ablations stay apart by file: two of them share a row under other conditions.
    report = rows["sweep"].where(rows["source"].eq("imported"), "")
    found = []
    for name in fixed:
        sizes = rows.groupby(["dataset", name, report], sort=True).agg(
            length=(varied, "nunique"), baselines=("quality_partner", "count"), tokens=TOKENS
        )
        preferred = sizes["length"].gt(1) & (sizes.index.get_level_values(0) == selection.text)
        sizes = sizes.assign(name=name, preferred=preferred, key=sizes.index.to_list())
        found.append(sizes.reset_index(drop=True))
    weight = ["preferred", "length", "baselines", "tokens"]
    groups = pd.concat(found).sort_values(weight, kind="stable")
    if groups.empty or groups["length"].iloc[-1] < 2:
        raise _nothing(selection, rows, varied)
    name, (dataset, value, file) = groups["name"].iloc[-1], groups["key"].iloc[-1]
    chosen = rows[rows["dataset"].eq(dataset) & rows[name].eq(value) & report.eq(file)]
    # Quality and latency measured apart are put together: one row for each value.
    order = chosen.sort_values([varied, "finished_at"], kind="stable", na_position="first")
    others = {str(key[0]) for key in groups.loc[groups["length"].gt(1), "key"]}
    return Ablation(
        selection=selection,
        varied=varied,
        fixed=name,
        fixed_value=int(value),
        dataset=dataset,
        rows=order.groupby(varied, as_index=False).last(),
        other_datasets=tuple(sorted(others - {dataset})),
    )


def _nothing(selection: Selection, rows: pd.DataFrame, varied: str) -> MissingRowsError:
    values = {"window_size": WINDOWS, "n_sink": SINKS}[varied]
    what = f"fewer than two values of {varied} with everything else equal"
    if rows.empty:
        return MissingRowsError(what, f"{QUICKSTART} {selection.store}")
    like: dict[Hashable, Any] = rows.sort_values("n_tokens").to_dict("records")[-1]
    kept = {name: like[name] for name in ("n_sink", "window_size") if name != varied}
    wanted = entry(like, method="streaming", **kept, **{varied: list(values)})
    return MissingRowsError(what, command(selection, [wanted]))


def other_texts(data: Ablation) -> str:
    """Name the texts with the same ablation that this figure does not show."""
    return ", ".join(captions.dataset_name(name) for name in data.other_datasets)
