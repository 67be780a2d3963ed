"""What a grid file may look like, before any value in it is understood.

pydantic checks the shape; its findings become problems with the place and the words of a grid.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from orchestrator.grid.located_yaml import LocatedYaml
from workers.contract.spec import FIELD_NAMES

_Mapping: TypeAlias = dict[str, Any]


class ResourcesShape(BaseModel):
    """What each evaluation may use."""

    model_config = ConfigDict(strict=True, extra="forbid")

    gpus: Annotated[int, Field(ge=0, le=1)] | None = None
    cpus: Annotated[int, Field(ge=1)] | None = None
    accelerator: Annotated[str, Field(min_length=1)] | None = None


class EntryShape(BaseModel):
    """One entry of `grids`; the fields of an evaluation are its further keys."""

    model_config = ConfigDict(strict=True, extra="allow")

    zip: Annotated[dict[str, list[Any]], Field(min_length=1)] | None = None
    exclude: list[Annotated[_Mapping, Field(min_length=1)]] = []
    priority: int = 0


class GridShape(BaseModel):
    """A whole grid file."""

    model_config = ConfigDict(strict=True, extra="forbid")

    sweep: Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,100}$")]
    defaults: _Mapping = {}
    resources: ResourcesShape = ResourcesShape()
    grids: Annotated[list[EntryShape], Field(min_length=1)]


ENTRY_KEYS = ("zip", "exclude", "priority", *FIELD_NAMES)
"""Every key that an entry may have."""
DEFAULTS_KEYS = FIELD_NAMES
"""Every key that `defaults`, `zip` and an item of `exclude` may have."""

ASIDE = "x-"
"""What a key of a grid begins with that is there for its anchor alone, as in Compose files."""

_ALLOWED = {
    "dict_type": "must be a mapping of keys and values",
    "model_type": "must be a mapping of keys and values",
    "list_type": "must be a list, for example [a, b]",
    "int_type": "must be a whole number",
    "string_type": "must be text (put it in quotes)",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "string_pattern_mismatch": "must be 1 to 100 characters of a-z, 0-9, - and _",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
}


def check_shape(found: LocatedYaml) -> None:
    """Report everything about the shape of a grid that is not allowed."""
    value = found.value
    if isinstance(value, dict):
        value = {key: part for key, part in value.items() if not key.startswith(ASIDE)}
    try:
        GridShape.model_validate(value)
    except ValidationError as error:
        for item in error.errors(include_url=False):
            kind, place = item["type"], item["loc"]
            if kind == "extra_forbidden":
                inside = ResourcesShape if len(place) > 1 else GridShape
                message = unknown_key(str(place[-1]), inside.model_fields)
                if inside is GridShape and isinstance(item["input"], dict):
                    message += f"; what is only taken over with << may be called {ASIDE}NAME"
            elif kind == "missing":
                message = "is required"
            elif place[-1:] == ("gpus",) and kind == "less_than_equal":
                allowed = "must be 0 or 1: more than one GPU per evaluation is refused for now"
                message = f"{allowed}, got {describe_value(item['input'])}"
            else:
                allowed = _ALLOWED.get(kind, item["msg"]).format(**item.get("ctx", {}))
                message = f"{allowed}, got {describe_value(item['input'])}"
            found.report(place, message)


def describe_value(value: Any) -> str:
    """Return a value as a message shows it: short, in YAML's words."""
    if isinstance(value, dict | list):
        kind = "mapping" if isinstance(value, dict) else "list"
        return f"an empty {kind}" if not value else f"a {kind}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def did_you_mean(given: Any, allowed: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the closest allowed word, or nothing."""
    close = get_close_matches(str(given), list(allowed), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def unknown_key(key: str, allowed: Iterable[str]) -> str:
    """Return the message for a key that is not among the allowed ones."""
    words = list(allowed)
    return f"unknown key{did_you_mean(key, words)}; allowed: {', '.join(words)}"
