"""From the entries of a grid to combinations of values: products, zip, exclude.

Values are checked once per distinct value before anything is multiplied, and combinations are
counted before any is built.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

from orchestrator.grid.located_yaml import KeyPath, LocatedYaml
from orchestrator.grid.shape import (
    DEFAULTS_KEYS,
    ENTRY_KEYS,
    describe_value,
    did_you_mean,
    unknown_key,
)
from workers.contract.errors import SpecError
from workers.contract.spec import (
    DEFAULTS,
    DTYPES,
    EMPTY_DOCUMENTS,
    MEASURES,
    METHODS,
    NAMED_DATASETS,
    EvalSpec,
)

REQUIRED = ("model", "dataset", "method")
_ENTRY_OPTIONS = ("zip", "exclude", "priority")
_CHOICES = {
    "method": METHODS,
    "dtype": DTYPES,
    "dataset": NAMED_DATASETS,
    "empty_documents": EMPTY_DOCUMENTS,
}
_REVISION_OF = {"model_revision": "model", "dataset_revision": "dataset"}
_LARGEST = 2**63 - 1  # what a column of the store holds


@dataclass(frozen=True)
class Entry:
    """One entry of `grids`, read: what is fixed, what varies, what is left out."""

    index: int
    path: KeyPath
    fixed: Mapping[str, Any]
    axes: Mapping[str, list[Any]]
    zipped: Mapping[str, list[Any]]
    excludes: tuple[Mapping[str, list[Any]], ...]
    priority: int

    @property
    def n_combinations(self) -> int:
        """How many combinations the lists span, before anything is excluded."""
        rows = len(next(iter(self.zipped.values()))) if self.zipped else 1
        return rows * prod(len(values) for values in self.axes.values())

    def combinations(self) -> Iterator[dict[str, Any]]:
        """Yield every combination, the excluded ones too."""
        rows = [
            dict(zip(self.zipped, row, strict=True))
            for row in zip(*self.zipped.values(), strict=True)
        ]
        for row in rows or [{}]:
            for values in product(*self.axes.values()):
                yield {**self.fixed, **row, **dict(zip(self.axes, values, strict=True))}


def check_fields(found: LocatedYaml) -> None:
    """Report every field of a grid whose name or value is not allowed."""
    root = found.value if isinstance(found.value, dict) else {}
    defaults = _mapping(root.get("defaults"))
    for name, value in defaults.items():
        _check_fixed(found, ("defaults", name), name, value)
    for index, entry in enumerate(_list(root.get("grids"))):
        if isinstance(entry, dict):
            _check_entry(found, ("grids", index), entry, defaults)


def read_entries(found: LocatedYaml) -> list[Entry]:
    """Return the entries of a grid whose shape and fields are known to be right."""
    entries = []
    for index, entry in enumerate(found.value["grids"]):
        zipped = dict(entry.get("zip") or {})
        fields = {name: value for name, value in entry.items() if name not in _ENTRY_OPTIONS}
        varied = {*fields, *zipped}
        # A default revision belongs to the default model or dataset, not to the entry's own.
        fixed = {
            name: value
            for name, value in found.value.get("defaults", {}).items()
            if name not in varied and _REVISION_OF.get(name) not in varied
        }
        read = Entry(
            index=index,
            path=("grids", index),
            fixed=fixed,
            axes={name: axis(name, value) for name, value in fields.items()},
            zipped=zipped,
            excludes=tuple(
                {name: axis(name, value) for name, value in exclude.items()}
                for exclude in entry.get("exclude", [])
            ),
            priority=entry.get("priority", 0),
        )
        entries.append(read)
    return entries


def excluded(combination: Mapping[str, Any], exclude: Mapping[str, list[Any]]) -> bool:
    """Tell whether a combination has, for every key of `exclude`, one of its values."""
    return all(
        _as_yaml(combination.get(name, DEFAULTS.get(name))) in map(_as_yaml, values)
        for name, values in exclude.items()
    )


def axis(name: str, value: Any) -> list[Any]:
    """Return the values that a field takes: a list is an axis, anything else one value.

    `measure` is a list itself: a list of words is one value, a list of lists an axis.
    """
    if not isinstance(value, list):
        return [value]
    if name == "measure" and not (value and all(isinstance(item, list) for item in value)):
        return [value]
    return value


def _check_entry(
    found: LocatedYaml, path: KeyPath, entry: dict[str, Any], defaults: Mapping[str, Any]
) -> None:
    for name, value in entry.items():
        if name not in ENTRY_KEYS:
            found.report((*path, name), unknown_key(name, ENTRY_KEYS))
        elif name not in _ENTRY_OPTIONS:
            _check_axis(found, (*path, name), name, value)
    _check_zip(found, (*path, "zip"), entry)
    for index, exclude in enumerate(_list(entry.get("exclude"))):
        for name, value in _mapping(exclude).items():
            _check_axis(found, (*path, "exclude", index, name), name, value)
    given = {*defaults, *entry, *_mapping(entry.get("zip"))}
    for name in REQUIRED:
        if name not in given:
            message = "is required: give it here or in defaults"
            found.report((*path, name), message)


def _check_zip(found: LocatedYaml, path: KeyPath, entry: Mapping[str, Any]) -> None:
    lists = {k: v for k, v in _mapping(entry.get("zip")).items() if isinstance(v, list)}
    for name, values in lists.items():
        if name in entry:
            found.report((*path, name), "given in the entry and in its zip; keep one of the two")
        if name == "measure" and not all(isinstance(value, list) for value in values):
            found.report((*path, name), "must be a list of lists, for example [[quality]]")
            continue
        _check_axis(found, (*path, name), name, values)
    lengths = {name: len(values) for name, values in lists.items()}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        found.report(path, f"all lists of a zip must have the same length, got {counts}")


def _check_axis(found: LocatedYaml, path: KeyPath, name: str, value: Any) -> None:
    if value == []:
        found.report(path, "must be a value or a list of at least one, got an empty list")
        return
    values = axis(name, value)
    for index, one in enumerate(values):
        _check_fixed(found, (*path, index) if values is value else path, name, one)


def _check_fixed(found: LocatedYaml, path: KeyPath, name: str, value: Any) -> None:
    if message := wrong_value(name, value):
        found.report(path, message)


def wrong_value(name: str, value: Any) -> str | None:
    """Return what is wrong with one value of one field, or None."""
    if name not in DEFAULTS_KEYS:
        return unknown_key(name, DEFAULTS_KEYS)
    if name == "measure":
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            return f"must be a list of {', '.join(MEASURES)}, for example [quality], got {value!r}"
        message = _spec_problem("measure", value)
        unknown = [word for word in value if word not in MEASURES]
        return message and message + (did_you_mean(unknown[0], MEASURES) if unknown else "")
    if isinstance(value, dict | list):
        given = describe_value(value)
        return f"must be one value, got {given}; lists belong into an entry under grids"
    if isinstance(value, int) and abs(value) > _LARGEST:
        return f"must be at most {_LARGEST}, got {value}"
    message = _spec_problem(name, value)
    if message is None:
        return None
    quoted = "; put it in quotes" if message.startswith("must be str") and value is not None else ""
    return message + (did_you_mean(value, _CHOICES.get(name, ())) or quoted)


def _spec_problem(name: str, value: Any) -> str | None:
    # The rest of this spec is right, and `dense` has no budget that could be 0.
    rest = {"model": "demo", "dataset": "pydoc", "method": "dense"}
    try:
        EvalSpec(**{**rest, name: value})
    except SpecError as error:
        return next((message for field, message in error.problems if field == name), None)
    return None


def _as_yaml(value: Any) -> Any:
    """Return a value as a grid gives it; of `measure` the order of the words does not matter."""
    return sorted(value) if isinstance(value, list | tuple) else value


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
