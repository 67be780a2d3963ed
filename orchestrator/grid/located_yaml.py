"""YAML as plain values that remember the line they stood on.

PyYAML keeps the last of two equal keys, reads `12:30` as 750 and `010` as 8, and forgets where a
value came from. A grid decides what a cluster computes for a day, so here a duplicate key is a
problem, numbers are what they look like, and every value knows its line.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from orchestrator.errors import GridError, GridProblem

MAX_BYTES = 2_000_000
"""Larger files are refused: a grid of a million evaluations is a few lines of products."""
MAX_VALUES = 500_000
"""More values than this are aliases of aliases, which grow exponentially."""

MERGE_KEY = "<<"
"""Takes over the keys of another mapping."""

_SURROGATE = re.compile(r"[\ud800-\udfff]")

KeyPath = tuple[str | int, ...]
"""Where a value stands: keys of mappings and positions in lists, from the root down."""


@dataclass
class LocatedYaml:
    """The value of a YAML file, the place of each of its parts, and what was wrong with it."""

    name: str
    value: Any
    places: dict[KeyPath, str] = field(default_factory=dict)
    """`FILE:LINE` of every key and list item; the root is the empty path."""
    problems: list[GridProblem] = field(default_factory=list)

    def place(self, path: KeyPath) -> str:
        """Return `FILE:LINE` of the value at `path`, or of the nearest part that holds it."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, self.name)

    def report(self, path: KeyPath, message: str) -> None:
        """Note a problem of the value at `path`, once."""
        key = next((part for part in reversed(path) if isinstance(part, str)), "")
        problem = GridProblem(self.place(path), key, message)
        if problem not in self.problems:
            self.problems.append(problem)


def read_yaml(path: Path) -> LocatedYaml:
    """Read a YAML file; raises `GridError` where it is not one mapping of plain values."""
    if path.is_dir():
        raise _error(str(path), None, "is a directory; name a YAML file in it")
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise _error(str(path), None, f"cannot be read: {error.strerror}") from error
    if len(content) > MAX_BYTES:
        raise _error(str(path), None, f"is larger than {MAX_BYTES:,} bytes; is it a grid?")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        message = f"not UTF-8 text (byte 0x{content[error.start]:02x}); save the grid as UTF-8 YAML"
        raise _error(str(path), line, message) from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, name: str) -> LocatedYaml:
    """Parse YAML text that is called `name` in messages; raises `GridError`."""
    if strange := yaml.reader.Reader.NON_PRINTABLE.search(text):
        line = text.count("\n", 0, strange.start()) + 1
        message = f"a control character ({strange.group()!r}); a grid is a text file in YAML"
        raise _error(name, line, message)
    loader = _PlainLoader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            raise _error(name, 1, "the file is empty; a grid needs the keys sweep and grids")
        found = LocatedYaml(name, None)
        found.value = _convert(root, (), found)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = str(getattr(error, "problem", None) or error)
        if "'\\t'" in problem:
            message = "a tab; YAML is indented with spaces"
        elif "expected a single document" in str(error):
            message = "a second document (---); a grid file holds one"
        else:
            message = f"not valid YAML here or just above: {problem}"
        raise _error(name, None if mark is None else mark.line + 1, message) from error
    except RecursionError as error:
        raise _error(name, 1, "the values are nested too deeply for a grid") from error
    return found


def parse_value(text: str) -> Any:
    """Parse one YAML value, as `--set key=value` gives it; raises `ValueError`."""
    try:
        node = _PlainLoader(text).get_single_node()
        found = LocatedYaml("", None)
        value = None if node is None else _convert(node, (), found)
    except (yaml.YAMLError, RecursionError, GridError) as error:
        raise ValueError(f"{text!r} is not a YAML value") from error
    if found.problems:
        raise ValueError(found.problems[0].message)
    return value


_PLAIN_TAGS = {
    f"tag:yaml.org,2002:{kind}" for kind in ("map", "seq", "str", "int", "float", "bool", "null")
}
_CONSTRUCTOR = yaml.constructor.SafeConstructor()


class _PlainLoader(yaml.SafeLoader):
    """YAML without surprises: no dates, no base-60 or octal numbers."""


_PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag.split(":")[-1] in ("bool", "null")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_PlainLoader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"[-+]?(?:0|[1-9][0-9_]*)$"), list("-+0123456789")
)
_PlainLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$"),
    list("-+.0123456789"),
)


def _convert(node: yaml.Node, path: KeyPath, found: LocatedYaml) -> Any:
    """Return the plain value of a node, noting its place and its problems in `found`."""
    line = node.start_mark.line + 1
    found.places.setdefault(path, f"{found.name}:{line}")
    if len(found.places) > MAX_VALUES:
        raise _error(found.name, line, "the aliases expand to too many values")
    if node.tag not in _PLAIN_TAGS:
        found.report(path, f"the tag {node.tag!r} is not allowed; write a plain value")
        return None
    if isinstance(node, yaml.MappingNode):
        return _convert_mapping(node, path, found)
    if isinstance(node, yaml.SequenceNode):
        return [_convert(item, (*path, i), found) for i, item in enumerate(node.value)]
    value = _CONSTRUCTOR.construct_object(node)
    if not isinstance(value, str) or not _SURROGATE.search(value):
        return value
    try:  # JSON, which is nearly YAML, spells a character beyond 16 bits as two
        return value.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        found.report(path, f"holds one half of a character ({value!a}), which is no text")
        return None


def _convert_mapping(node: yaml.MappingNode, path: KeyPath, found: LocatedYaml) -> dict[str, Any]:
    values: dict[str, Any] = {}
    merged: list[yaml.MappingNode] = []
    for key_node, value_node in node.value:
        key = key_node.value if isinstance(key_node, yaml.ScalarNode) else "?"
        place = f"{found.name}:{key_node.start_mark.line + 1}"
        if key == MERGE_KEY and key_node.style is None:
            items = value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
            if all(isinstance(item, yaml.MappingNode) for item in items):
                merged += items
            else:
                message = "must be an alias of a mapping, or a list of such, for example <<: *base"
                found.problems.append(GridProblem(place, MERGE_KEY, message))
            continue
        if key in values:
            first = found.places[(*path, key)]
            problem = GridProblem(
                place, key, f"given twice (first at {first}); keep one of the two"
            )
            if problem not in found.problems:  # an alias brings it along again
                found.problems.append(problem)
            continue
        found.places[(*path, key)] = place
        values[key] = _convert(value_node, (*path, key), found)
    for other in merged:  # own keys win, then those of the first mapping; YAML 1.1, section merge
        _merge(other, path, values, found)
    return values


def _merge(
    node: yaml.MappingNode, path: KeyPath, values: dict[str, Any], found: LocatedYaml
) -> None:
    """Add the keys of another mapping that are not there yet; their places are where they stand."""
    scratch = LocatedYaml(found.name, None, problems=found.problems)
    for key, value in _convert_mapping(node, (), scratch).items():
        if key not in values:
            values[key] = value
            parts = (p for p in scratch.places.items() if p[0][:1] == (key,))
            found.places |= {(*path, *below): place for below, place in parts}
    if len(found.places) > MAX_VALUES:
        raise _error(found.name, node.start_mark.line + 1, "the aliases expand to too many values")


def _error(name: str, line: int | None, message: str) -> GridError:
    place = name if line is None else f"{name}:{line}"
    return GridError([GridProblem(place, "", message)])
