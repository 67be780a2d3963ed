"""Which single streaming configuration stands for StreamingLLM when a figure shows just one."""

from dataclasses import dataclass

import pandas as pd

from analysis.errors import MissingRowsError
from analysis.rows.comparable import QUICKSTART, Selection
from analysis.rows.missing import command, entry

USUAL_SINKS = 4
"""The paper's number of sinks, preferred among configurations that are equally complete."""


@dataclass(frozen=True)
class Headline:
    """One configuration on every text: a streaming and a baseline row each, or null."""

    selection: Selection
    n_sink: int
    window_size: int
    streaming: pd.DataFrame
    """Indexed by dataset; all null where the configuration was not run."""
    baseline: pd.DataFrame
    """The recompute rows of the same budget, with the same index."""
    missing: tuple[MissingRowsError, ...]

    @property
    def datasets(self) -> list[str]:
        """The texts, in the order in which they are drawn."""
        return [str(name) for name in self.streaming.index]

    @property
    def row_ids(self) -> list[str]:
        """The rows that are drawn."""
        rows = pd.concat([self.streaming["row_id"], self.baseline["row_id"]])
        return [str(row_id) for row_id in rows.dropna()]

    @property
    def block_rows(self) -> list[str]:
        """The rows whose blocks the paired intervals need."""
        rows = pd.concat([self.streaming["row_id"], self.streaming["quality_partner"]])
        return [str(row_id) for row_id in rows.dropna()]


def select_headline(selection: Selection) -> Headline:
    """Pick the configuration that is most complete, never hollow if it can be avoided.

    Complete: with a comparable baseline on the most texts. Among equals the usual four sinks
    and the largest window. Raises `MissingRowsError` without any streaming row.
    """
    rows = selection.rows
    streaming = rows[rows["method"].eq("streaming")]
    if streaming.empty:
        place = f"{QUICKSTART} {selection.store}"
        raise MissingRowsError("no streaming row among the results", place)
    n_sink, window_size = _best_configuration(streaming)
    ours = streaming[streaming["n_sink"].eq(n_sink) & streaming["window_size"].eq(window_size)]
    budget = n_sink + window_size
    if selection.is_reported:  # of each text the row of the file that compares it with a baseline
        compares = ours["sweep"].isin(rows.loc[rows["method"].eq("recompute"), "sweep"])
        order = ours.assign(compares=compares).sort_values("compares", kind="stable")
        ours = ours.loc[order.drop_duplicates("dataset", keep="last").index]
    baseline = rows[baselines_of(selection, ours, budget)]
    datasets = pd.Index(rows["dataset"].drop_duplicates().sort_values(), name="dataset")
    return Headline(
        selection=selection,
        n_sink=n_sink,
        window_size=window_size,
        streaming=_by_dataset(ours, datasets),
        baseline=_by_dataset(baseline, datasets),
        missing=_missing(selection, ours, baseline),
    )


def baselines_of(selection: Selection, ours: pd.DataFrame, budget: int) -> pd.Series:
    """Tell which rows are the baseline: same budget and asked stride, or what a report names."""
    rows = selection.rows
    recompute = rows["method"].eq("recompute")
    if selection.is_reported:
        return recompute & rows["sweep"].isin(ours["sweep"])
    strides = rows["recompute_stride"].eq(selection.baseline_stride)
    # A sample of the blocks only where it is what ours are compared with.
    partners = pd.concat([ours["quality_partner"], ours["speed_partner"]])
    usable = rows["recompute_blocks"].isna() | rows["row_id"].isin(partners)
    return recompute & rows["budget"].eq(budget) & strides & usable


def _best_configuration(streaming: pd.DataFrame) -> tuple[int, int]:
    quality, speed = (streaming[f"{name}_partner"].notna() for name in ("quality", "speed"))
    paired = quality.astype(int) + speed.astype(int)
    scored = streaming.assign(paired=paired, useful=paired.where(~streaming["hollow"], 0))
    score = scored.groupby(["n_sink", "window_size"]).agg(
        useful=("useful", "sum"), paired=("paired", "sum"), rows=("row_id", "count")
    )
    score = score.reset_index().assign(usual=lambda frame: frame["n_sink"].eq(USUAL_SINKS))
    order = ["useful", "paired", "rows", "usual", "window_size", "n_sink"]
    best = score.sort_values(order).iloc[-1]
    return int(best["n_sink"]), int(best["window_size"])


def _by_dataset(rows: pd.DataFrame, datasets: pd.Index) -> pd.DataFrame:
    """Return one row per text; quality and latency measured apart are put together."""
    timed_last = rows.sort_values(["dataset", "finished_at"], kind="stable", na_position="first")
    if timed_last["dataset"].is_unique:
        return timed_last.set_index("dataset").reindex(datasets)
    # `last` skips nulls per column: a quality-only and a latency-only row complement each other.
    return timed_last.groupby("dataset", sort=False).last().reindex(datasets)


def _missing(
    selection: Selection, streaming: pd.DataFrame, baseline: pd.DataFrame
) -> tuple[MissingRowsError, ...]:
    lacking = streaming[~streaming["dataset"].isin(baseline["dataset"])]
    if lacking.empty or selection.is_reported:
        return ()
    stride = {"recompute_stride": selection.baseline_stride}
    entries = [
        entry(row, method="recompute", n_sink=0, window_size=row["budget"], **stride)
        for row in lacking.to_dict("records")
    ]
    entries = [one for number, one in enumerate(entries) if one not in entries[:number]]
    names = ", ".join(dict.fromkeys(lacking["dataset"]))
    budget = int(lacking["budget"].iloc[0])
    what = f"no recompute row with budget {budget} for {names}"
    return (MissingRowsError(what, command(selection, entries)),)
