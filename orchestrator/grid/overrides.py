"""`--set key=value`: changes to a grid from the command line.

A field set this way holds for every evaluation of the grid, also where an entry lists its own
values: who asks for `max_tokens=512` wants no evaluation with more.
"""

from collections.abc import Sequence
from typing import Any

from orchestrator.errors import GridError, GridProblem
from orchestrator.grid.located_yaml import KeyPath, LocatedYaml, parse_value
from orchestrator.grid.shape import ResourcesShape, unknown_key
from workers.contract.spec import FIELD_NAMES

PLACE = "--set"
_RESOURCES = tuple(f"resources.{name}" for name in ResourcesShape.model_fields)
_DEFAULTS = tuple(f"defaults.{name}" for name in FIELD_NAMES)
SETTABLE = ("sweep", *_RESOURCES, *FIELD_NAMES)
"""Every key that `--set` takes (and `defaults.FIELD`, which entries may still replace)."""


def apply_overrides(found: LocatedYaml, overrides: Sequence[str]) -> frozenset[str]:
    """Change the grid in place; returns the fields that now hold for every evaluation.

    Raises `GridError` for an override that is not `key=value` with a known key.
    """
    settings: dict[str, Any] = {}
    problems = []
    for text in overrides:
        key, equals, value = text.partition("=")
        key = key.strip()
        try:
            if not equals:
                raise ValueError(f"must be key=value, got {text!r}")
            if key not in SETTABLE and key not in _DEFAULTS:
                raise ValueError(unknown_key(key, SETTABLE))
            settings[key] = parse_value(value)
        except ValueError as error:
            problems.append(GridProblem(PLACE, key if equals else "", str(error)))
    if problems:
        raise GridError(problems)
    if isinstance(found.value, dict):
        for key, setting in settings.items():
            _apply(found, key, setting)
    return frozenset(settings) & frozenset(FIELD_NAMES)


def _apply(found: LocatedYaml, key: str, value: Any) -> None:
    section, _, name = key.rpartition(".")
    if key in FIELD_NAMES:
        grids = found.value.get("grids")
        for index, entry in enumerate(grids if isinstance(grids, list) else []):
            if not isinstance(entry, dict):
                continue
            zipped = entry.get("zip")
            if isinstance(zipped, dict) and zipped.pop(key, None) is not None and not zipped:
                del entry["zip"]
            _set(found, entry, ("grids", index, key), value)
    elif not section:
        _set(found, found.value, (key,), value)
    elif isinstance(part := found.value.setdefault(section, {}), dict):
        _set(found, part, (section, name), value)


def _set(found: LocatedYaml, part: dict[str, Any], path: KeyPath, value: Any) -> None:
    part[str(path[-1])] = value
    for known in [place for place in found.places if place[: len(path)] == path]:
        del found.places[known]
    found.places[path] = PLACE
