"""`--where column=value`: a plain filter over the rows, before anything is compared."""

from collections.abc import Sequence

import pandas as pd

from orchestrator.errors import UsageError

NULL = "null"


def matching(frame: pd.DataFrame, conditions: Sequence[str]) -> pd.DataFrame:
    """Return the rows that meet every `column=value`; `null` stands for a missing value.

    Raises `UsageError` for an unknown column or a condition that no row meets.
    """
    for condition in conditions:
        column, equals, value = condition.partition("=")
        if not equals or column not in frame.columns:
            known = ", ".join(sorted(map(str, frame.columns)))
            raise UsageError(f"--where must be column=value, got {condition!r}; columns: {known}")
        kept = frame[_meets(frame[column], value)]
        if kept.empty and not frame.empty:
            found = ", ".join(sorted(map(str, frame[column].dropna().unique()))[:20]) or "only null"
            raise UsageError(f"--where {condition}: no row; {column} has {found}")
        frame = kept
    return frame.reset_index(drop=True)


def _meets(column: pd.Series, value: str) -> pd.Series:
    if value == NULL:
        return column.isna()
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return column.eq(pd.to_numeric(value, errors="coerce"))
    return column.astype(str).str.lower().eq(value.lower())
