"""docs/models.md from the record of a census; pure."""

from collections.abc import Mapping, Sequence
from typing import Any

BEGIN, END = "<!-- census -->", "<!-- end of census -->"
SUPPORTED = ("exact", "token by token")
NOT_BUILT = "not built"


def written(document: str, record: Mapping[str, Any]) -> str:
    """Return a document with the tables of this record between its two marks."""
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{tables(record)}\n{END}{after}"


def tables(record: Mapping[str, Any]) -> str:
    """Return the summary and both tables of a record."""
    types: Sequence[Mapping[str, Any]] = record["types"]
    supported = [found for found in types if found["status"] in SUPPORTED]
    refused = [found for found in types if found["status"] not in (*SUPPORTED, NOT_BUILT)]
    not_built = [found for found in types if found["status"] == NOT_BUILT]
    return "\n".join(
        [
            f"transformers {record['transformers']} has {len(types)} causal-LM types: "
            f"{len(supported)} are supported, {len(refused)} are refused, of {len(not_built)} "
            "transformers builds no causal language model from a tiny configuration.",
            "",
            "| type | passes | limit | worth knowing | difference | own rounding |",
            "| --- | --- | --- | --- | --- | --- |",
            *(_supported_row(found) for found in supported),
            "",
            "| refused | why |",
            "| --- | --- |",
            *(_refused_row(found) for found in refused),
            "",
            "| not built | why |",
            "| --- | --- |",
            *(_refused_row(found) for found in not_built),
        ]
    )


def _supported_row(found: Mapping[str, Any]) -> str:
    passes = "parallel, decode" if found["status"] == "exact" else "token by token"
    limit = "" if found["limit"] is None else "length of the original training"
    traits = ", ".join(found["traits"])
    return (
        f"| `{found['model_type']}` | {passes} | {limit} | {traits} | "
        f"{found['difference']:.0e} | {found['noise']:.0e} |"
    )


def _refused_row(found: Mapping[str, Any]) -> str:
    return f"| `{found['model_type']}` | {_cell(found['reason'])} |"


def _cell(text: str) -> str:
    return text.removesuffix(" (see docs/models.md)").replace("|", "\\|").replace("_", "\\_")
