"""Random grids, valid and broken, against a slow expansion that shares no code with the reader."""

import hashlib
import itertools
import json
import random
import re
from pathlib import Path
from typing import Any

import yaml

from orchestrator.errors import GridError, GridProblem
from orchestrator.grid.load import load_grid
from orchestrator.sweep import Sweep
from workers.revisions import Revisions

Fields = dict[str, Any]
GOOD: dict[str, list[Any]] = {
    "model": ["demo", "random:tiny-neox"],
    "dataset": ["pydoc", "stdlib", "random"],
    "method": ["dense", "recompute", "streaming", "window"],
    "dtype": ["float32", "bfloat16"],
    "max_tokens": [2, 64, 300, None],
    "max_documents": [1, None],
    "n_sink": [0, 1, 4, 8],
    "window_size": [0, 1, 60, 252, 1024],
    "recompute_stride": [1, 2, 64],
    "measure": [["quality"], ["quality", "latency"], ["latency"], ["attention"]],
    "decode_tokens": [1, 8, 256],
    "warmup_tokens": [0, 16],
    "repeats": [1, 3],
    "seed": [0, 1, 2**62],
    "save_token_nll": [True, False],
    "bos": ["model", "never"],
    "special_tokens": ["parse", "text"],
    "empty_documents": ["refuse", "skip"],
    "split": ["test", "other"],
}
BAD: dict[str, list[Any]] = {
    "model": ["", 3, None, "no such model!"],
    "dataset": ["pg", "file:picture.png", 1.5],
    "method": ["streamin", True, {"a": 1}],
    "n_sink": [-1, 1.0, True, "4", 2**70],
    "window_size": [-5, None, "wide"],
    "max_tokens": [1, 0, "all"],
    "measure": ["quality", ["speed"], [1]],
    "dtype": ["float64", 32],
    "widow_size": [60],
    "repeats": [0],
}
DEFAULTS: Fields = {
    "dtype": "float32",
    "split": "test",
    "max_documents": None,
    "max_tokens": None,
    "n_sink": 4,
    "window_size": 1024,
    "recompute_stride": 1,
    "measure": ["quality", "latency"],
    "decode_tokens": 256,
    "warmup_tokens": 16,
    "repeats": 3,
    "seed": 0,
    "save_token_nll": False,
    "bos": "model",
    "special_tokens": "parse",
    "empty_documents": "refuse",
}
TIMING = ("decode_tokens", "warmup_tokens", "repeats")
REVISIONS = Revisions()


class BrokenGridError(Exception):
    """What the slow expansion says of a grid that must be refused."""


def check(seed: int, folder: Path) -> str:
    """Compare one random grid; returns what it was."""
    draw = random.Random(seed)
    broken = draw.random() < 0.4
    grid, overrides = random_grid(draw, broken=broken)
    text = written(draw, grid)
    if damaged := draw.random() < 0.15:
        text = mutilated(draw, text)
    file = folder / "g.yaml"
    file.write_text(text, encoding="utf-8")
    found, problems = read(file, overrides)
    assert (found is None) == bool(problems)
    assert all("\n" not in str(problem) for problem in problems), problems
    n_lines = len(re.split("\r\n|[\r\n\x85\u2028\u2029]", text))  # as YAML counts them
    assert all(problem.order[1] <= n_lines for problem in problems), problems
    if damaged:
        return "damaged"
    compare(found, grid, overrides)
    return "refused" if found is None else "expanded"


def compare(found: Sweep | None, grid: Fields, overrides: list[str]) -> None:
    expected, reason = expected_of(grid, dict(parsed(text) for text in overrides))
    if reason:
        assert found is None, f"accepted, but: {reason}"
        return
    assert found is not None, "refused, but valid"
    assert found.n_folded == len(expected) - len({run_id for run_id, _ in expected})
    priorities: dict[str, int] = {}
    for run_id, priority in expected:
        priorities[run_id] = max(priority, priorities.get(run_id, priority))
    assert [(e.spec.run_id, e.priority) for e in found.evaluations] == [*priorities.items()]


def read(file: Path, overrides: list[str]) -> tuple[Sweep | None, tuple[GridProblem, ...]]:
    try:
        return load_grid(str(file), overrides=overrides), ()
    except GridError as error:
        return None, error.problems


def expected_of(grid: Fields, overrides: Fields) -> tuple[list[tuple[str, int]], str]:
    try:
        return expand(grid, overrides), ""
    except BrokenGridError as reason:
        return [], str(reason)


def parsed(override: str) -> tuple[str, Any]:
    name, _, value = override.partition("=")
    return name, yaml.safe_load(value)


def random_grid(draw: random.Random, *, broken: bool) -> tuple[Fields, list[str]]:
    names = [name for name in GOOD if name not in ("model", "dataset", "method")]
    defaults = {name: draw.choice(GOOD[name]) for name in draw.sample(names, draw.randint(0, 5))}
    defaults |= {name: draw.choice(GOOD[name]) for name in ("model", "dataset", "method")}
    if draw.random() < 0.8:
        defaults["max_tokens"] = 64  # without it no random text
    grid: Fields = {"sweep": draw.choice(["s", "a-b_c", "x1"]), "defaults": defaults}
    grid["grids"] = [random_entry(draw) for _ in range(draw.randint(1, 3))]
    overrides = []
    if draw.random() < 0.2:
        name = draw.choice(["n_sink", "max_tokens", "method"])
        overrides = [f"{name}={json.dumps(draw.choice(GOOD[name]))}"]
    if broken:
        break_somewhere(draw, grid)
    return grid, overrides


def random_entry(draw: random.Random) -> Fields:
    entry: Fields = {}
    for name in draw.sample([*GOOD], draw.randint(0, 4)):
        values = draw.sample(GOOD[name], draw.randint(1, min(3, len(GOOD[name]))))
        entry[name] = values if draw.random() < 0.7 else values[0]
    if draw.random() < 0.3:
        length = draw.randint(1, 3)
        free = [name for name in GOOD if name not in entry]
        entry["zip"] = {
            name: [draw.choice(GOOD[name]) for _ in range(length)] for name in draw.sample(free, 2)
        }
    axes = [name for name, value in entry.items() if isinstance(value, list) and name != "measure"]
    if axes and draw.random() < 0.3:
        name = draw.choice(axes)
        value = draw.choice(entry[name] if draw.random() < 0.9 else GOOD[name])
        entry["exclude"] = [{name: value}]
        if draw.random() < 0.2:
            entry["exclude"][0]["measure"] = draw.choice([["quality", "latency"], ["latency"]])
    if draw.random() < 0.2:
        entry["priority"] = draw.randint(-2, 5)
    return entry


def break_somewhere(draw: random.Random, grid: Fields) -> None:
    name = draw.choice([*BAD])
    entry = draw.choice(grid["grids"])
    kind = draw.randrange(8)
    if kind == 0:
        entry[name] = draw.choice(BAD[name])
    elif kind == 1:
        grid["defaults"][name] = draw.choice(BAD[name])
    elif kind == 2:
        del grid["defaults"][draw.choice(["model", "dataset", "method"])]
    elif kind == 3:
        grid[draw.choice(["sweep", "grids"])] = draw.choice([None, [], 5, "A B", {}])
    elif kind == 4:
        grid["resources"] = draw.choice([{"gpus": 2}, {"cpu": 1}, [], {"cpus": 0}])
    elif kind == 5:
        entry["zip"] = {"n_sink": [1, 2], "window_size": [60]}
    elif kind == 6:
        entry[draw.choice([*GOOD])] = []
    else:
        entry["exclude"] = [{name: [draw.choice(BAD[name])]}]


def written(draw: random.Random, grid: Fields) -> str:
    flow = draw.choice([True, False, None])
    text = yaml.safe_dump(
        grid, sort_keys=False, default_flow_style=flow, indent=draw.choice([2, 4])
    )
    if draw.random() < 0.2:
        text = "# a comment: [with, brackets]\n" + text
    if draw.random() < 0.1:
        text = "\ufeff" + text
    return text.replace("\n", "\r\n") if draw.random() < 0.1 else text


def mutilated(draw: random.Random, text: str) -> str:
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(text) + 1)
        strange = draw.choice(
            ["\t", ":", "- ", "[", "{", "&a ", "*a", "<<: ", "\0", "'", "\n", "é"]
        )
        text = text[:at] + strange + text[at + draw.randint(0, 3) :]
    return text


# The slow expansion.


def expand(grid: Fields, overrides: Fields) -> list[tuple[str, int]]:
    """Return (run id, priority) of every combination in order; raises `BrokenGridError`."""
    name = grid["sweep"]
    if not (isinstance(name, str) and name and set(name) <= set("abcx1-_s")):
        raise BrokenGridError("name")
    if grid.get("resources", {}) != {} or not (isinstance(grid["grids"], list) and grid["grids"]):
        raise BrokenGridError("shape")
    refuse_bad_values(grid["defaults"], lists=False)
    found = []
    for entry in grid["grids"]:
        for key, value in overrides.items():
            entry.get("zip", {}).pop(key, None)
            entry[key] = value
        if entry.get("zip") == {}:
            del entry["zip"]
        combinations = list(kept(entry, grid["defaults"], overrides))
        found += [(run_id(one), entry.get("priority", 0)) for one in combinations]
    return found


def refuse_bad_values(fields: Fields, *, lists: bool = True) -> None:
    for name, value in fields.items():
        if name not in GOOD:
            raise BrokenGridError(f"unknown {name}")
        values = axis(name, value) if lists else [value]
        if not values or any(is_bad(name, one) for one in values):
            raise BrokenGridError(f"{name}: {value}")


def is_bad(name: str, value: Any) -> bool:
    return not any(type(value) is type(good) and value == good for good in GOOD[name])


def axis(name: str, value: Any) -> list[Any]:
    is_axis = isinstance(value, list) and (name != "measure" or isinstance((*value, 0)[0], list))
    return value if is_axis or value == [] else [value]


def kept(entry: Fields, defaults: Fields, overrides: Fields) -> list[Fields]:
    zipped, excludes = entry.get("zip", {}), entry.get("exclude", [])
    own = {k: v for k, v in entry.items() if k not in ("zip", "exclude", "priority")}
    for part in (own, zipped, *excludes):
        refuse_bad_values(part)
    if len({len(values) for values in zipped.values()}) > 1 or set(zipped) & set(own):
        raise BrokenGridError("zip")
    if not {"model", "dataset", "method"} <= {*defaults, *own, *zipped}:
        raise BrokenGridError("required")
    rows = [dict(zip(zipped, row, strict=True)) for row in zip(*zipped.values(), strict=True)]
    axes = [[(name, one) for one in axis(name, value)] for name, value in own.items()]
    everything = [
        {**DEFAULTS, **defaults, **row, **dict(chosen)}
        for row in rows or [{}]
        for chosen in itertools.product(*axes)
    ]
    left = list(everything)
    for exclude in excludes:
        hit = [c for c in everything if all(c[k] in axis(k, v) for k, v in exclude.items())]
        if not hit and not set(exclude) & set(overrides):
            raise BrokenGridError(f"{exclude} matches nothing")
        left = [c for c in left if c not in hit]
    if not left:
        raise BrokenGridError("nothing is left")
    return left


def run_id(fields: Fields) -> str:
    """Return the id that DESIGN's rules give; raises `BrokenGridError` for an impossible spec."""
    given = dict(fields)
    cached = given["window_size"] + (given["n_sink"] if given["method"] != "window" else 0)
    if given["dataset"] == "random" and given["max_tokens"] is None:
        raise BrokenGridError("random without max_tokens")
    if given["method"] != "dense" and cached == 0:
        raise BrokenGridError("budget 0")
    if given["method"] == "recompute" and given["recompute_stride"] > cached + 1:
        raise BrokenGridError("stride")
    unused = set(() if given["method"] == "recompute" else ["recompute_stride"])
    if given["measure"] == ["attention"] or given["method"] == "dense":
        given["method"] = "dense"
        unused |= {"n_sink", "window_size", "recompute_stride"} - (
            {"recompute_stride"} if given["method"] == "recompute" else set()
        )
    elif given["method"] in ("window", "recompute"):
        given |= {"n_sink": 0, "window_size": cached}
        given["method"] = "streaming" if given["method"] == "window" else "recompute"
    unused |= set() if "latency" in given["measure"] else set(TIMING)
    unused |= set() if "quality" in given["measure"] else {"save_token_nll"}
    unused |= {"split", "empty_documents"}  # of texts that every Python has
    if given["dataset"] == "random":
        unused |= {"bos", "special_tokens"}
    spec = {k: v for k, v in given.items() if k not in unused and v != DEFAULTS.get(k, "required")}
    revisions = REVISIONS.fill(fields)
    spec |= {
        name: revisions[name]
        for name in ("model_revision", "dataset_revision")
        if revisions.get(name)
    }
    payload = json.dumps({"eval_version": 1, "spec": spec}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(payload.encode()).hexdigest()[:16]
