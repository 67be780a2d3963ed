"""From a grid file to the evaluations it stands for.

Everything wrong with a grid is said at once, with file, line and key, before anything is
started or written. File paths in a grid are relative to the working directory of the command.
"""

from collections.abc import Iterator, Mapping, Sequence
from importlib import resources as package_files
from pathlib import Path
from typing import Any

from orchestrator.errors import GridError, GridProblem
from orchestrator.grid.expansion import Entry, check_fields, excluded, read_entries
from orchestrator.grid.located_yaml import LocatedYaml, parse_yaml, read_yaml
from orchestrator.grid.overrides import apply_overrides
from orchestrator.grid.shape import check_shape, did_you_mean
from orchestrator.sweep import PlannedEvaluation, Resources, Sweep
from workers.contract.errors import SpecError
from workers.contract.spec import EvalSpec
from workers.revisions import LookupFailedError, Revisions

LARGE = 1_000_000
"""A grid of more combinations than this needs a confirmation."""


def load_grid(source: str, *, overrides: Sequence[str] = (), confirm_large: bool = False) -> Sweep:
    """Read and expand the grid file at a path, or the built-in grid of that name.

    `overrides` are `key=value` texts: a field (then every evaluation has that value),
    `resources.gpus`, `sweep` or `defaults.FIELD`. Raises `GridError` with every problem.
    """
    return _expand(read_source(source), overrides, confirm_large)


def build_grid(
    grid: Mapping[str, Any], *, overrides: Sequence[str] = (), confirm_large: bool = False
) -> Sweep:
    """Expand a grid given as a mapping of the same shape as a grid file."""
    return _expand(LocatedYaml("grid", _plain(grid)), overrides, confirm_large)


def builtin_grids() -> list[str]:
    """Return the names of the grids that ship with the package."""
    folder = package_files.files("orchestrator") / "grids"
    return sorted(
        item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml")
    )


def _plain(value: Any) -> Any:
    """Copy what code gives as a grid into what YAML would give."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | range):
        return [_plain(item) for item in value]
    return value


def read_source(source: str) -> LocatedYaml:
    """Read the grid file at a path, or the built-in grid of that name; not yet checked."""
    if source in builtin_grids():
        file = package_files.files("orchestrator") / "grids" / f"{source}.yaml"
        return parse_yaml(file.read_text(encoding="utf-8"), f"{source}.yaml")
    if not source.strip() or not Path(source).exists():
        names = builtin_grids()
        message = f"no such file, and no built-in grid; built-in are {', '.join(names)}"
        raise GridError([GridProblem(repr(source), "", message + did_you_mean(source, names))])
    return read_yaml(Path(source))


def _expand(found: LocatedYaml, overrides: Sequence[str], confirm_large: bool) -> Sweep:
    overridden = apply_overrides(found, overrides)
    check_shape(found)
    check_fields(found)
    _raise_problems(found)
    entries = read_entries(found)
    count = sum(entry.n_combinations for entry in entries)
    if count > LARGE and not confirm_large:
        message = f"expands to {count:,} combinations, more than {LARGE:,}; confirm with --yes"
        found.report(("grids",), message)
        _raise_problems(found)
    evaluations, n_folded = _fold(found, entries, overridden)
    _raise_problems(found)
    return Sweep(
        name=found.value["sweep"],
        resources=Resources(**found.value.get("resources", {})),
        evaluations=tuple(evaluations),
        n_folded=n_folded,
    )


def _raise_problems(found: LocatedYaml) -> None:
    if found.problems:
        raise GridError(found.problems)


def _fold(
    found: LocatedYaml, entries: Sequence[Entry], overridden: frozenset[str]
) -> tuple[list[PlannedEvaluation], int]:
    """Return the distinct evaluations and the number of combinations folded into another."""
    revisions = Revisions()
    by_id: dict[str, PlannedEvaluation] = {}
    n_combinations = 0
    for entry in entries:
        for combination in _kept(found, entry, overridden):
            spec = _spec(found, entry, combination, revisions)
            if spec is None:
                continue
            n_combinations += 1
            known = by_id.get(spec.run_id)
            if known is None or known.priority < entry.priority:
                first = entry.index if known is None else known.entry
                by_id[spec.run_id] = PlannedEvaluation(spec, entry.priority, first)
    return list(by_id.values()), n_combinations - len(by_id)


def _kept(found: LocatedYaml, entry: Entry, overridden: frozenset[str]) -> Iterator[dict[str, Any]]:
    """Yield the combinations that no exclude matches; an exclude without a match is a problem."""
    matched: set[int] = set()
    n_kept = 0
    for combination in entry.combinations():
        hits = {i for i, item in enumerate(entry.excludes) if excluded(combination, item)}
        matched |= hits
        if not hits:
            n_kept += 1
            yield combination
    for index, item in enumerate(entry.excludes):
        if index not in matched and not overridden & set(item):
            message = "matches no combination of this entry; correct or remove it"
            found.report((*entry.path, "exclude", index), message)
    if n_kept == 0:
        message = "expands to nothing: every combination is excluded"
        found.report((*entry.path, "exclude"), message)


def _spec(
    found: LocatedYaml, entry: Entry, combination: dict[str, Any], revisions: Revisions
) -> EvalSpec | None:
    """Return the resolved spec; None, with the problem reported, if there is none."""
    try:
        return EvalSpec(**{**combination, **revisions.fill(combination)})
    except SpecError as error:
        for name, message in error.problems:
            found.report((*entry.path, name), message)
    except LookupFailedError as error:
        # Where the entry's value stands: in the entry, its zip or the defaults.
        own, zipped = (*entry.path, error.field), (*entry.path, "zip", error.field)
        places = [own, zipped, ("defaults", error.field)]
        found.report(next((path for path in places if path in found.places), own), str(error))
    return None
