"""The shape of the repository: which package may import which, and what belongs where."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("workers", "orchestrator", "analysis")
MAY_IMPORT = {
    "workers": {"workers"},
    "orchestrator": {"workers", "orchestrator"},
    "analysis": {"workers", "orchestrator", "analysis"},
}
RAY_PLACES = ("workers/host/actor.py", "orchestrator/executors/", "orchestrator/cluster/")
LIGHT_FILES = (
    "workers/contract/spec.py",
    "workers/contract/rows.py",
    "orchestrator/store/store.py",
)
HEAVY = ("torch", "ray", "transformers", "datasets")
LONGEST_FILE = 320
MOST_USED_ONCE = 0.18
"""Share of all functions that are private and used once."""
TOP_LEVEL = {
    *("pyproject.toml", "constraints.txt", "Makefile", "LICENSE", ".gitignore", ".ci"),
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "ablations.yaml", "cluster.yaml"),
    *("orchestrator", "workers", "analysis", "benchmarks", "tests", "docs", "results"),
}


def modules(*packages: str) -> list[Path]:
    return sorted(path for package in packages for path in (ROOT / package).rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """Yield the full name of everything a file imports, wherever in the file it does."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield node.module or ""


def names(paths: list[Path]) -> set[str]:
    return {path.relative_to(ROOT).as_posix() for path in paths}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_imports_run_from_analysis_over_orchestrator_to_workers_and_never_back() -> None:
    for path in modules(*PACKAGES):
        own = {name.split(".")[0] for name in imported(path)} & {*PACKAGES, "tests", "benchmarks"}
        assert own <= MAY_IMPORT[path.relative_to(ROOT).parts[0]], path


def test_ray_appears_in_the_actor_the_executors_and_the_cluster_alone() -> None:
    users = [p for p in modules(*PACKAGES) if any(n.split(".")[0] == "ray" for n in imported(p))]
    assert [name for name in names(users) if not name.startswith(RAY_PLACES)] == []


def test_datasets_appears_in_one_file() -> None:
    users = [
        p for p in modules(*PACKAGES) if any(n.split(".")[0] == "datasets" for n in imported(p))
    ]
    assert names(users) == {"workers/texts/hub_corpora.py"}


def test_no_package_that_is_not_installed_with_the_product_is_imported() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text()
    block = pyproject.split("\ndependencies = [", 1)[1].split("\n]", 1)[0]
    declared = {name.lower().replace("-", "_") for name in re.findall(r'"([A-Za-z][\w-]*)', block)}
    declared |= {"yaml", "PIL"}  # of pyyaml, and of matplotlib, which requires pillow
    declared |= {"gguf"}  # the extra of that name
    declared |= {"pynvml"}  # of nvidia-ml-py
    declared |= {"grpc"}  # of grpcio, which ray[default] requires
    for path in modules(*PACKAGES):
        used = {name.split(".")[0] for name in imported(path)}
        foreign = used - set(sys.stdlib_module_names) - set(PACKAGES)
        assert foreign <= declared, path


@pytest.mark.parametrize(
    "loaded", [*LIGHT_FILES, "orchestrator/cli.py", "analysis"], ids=lambda name: str(name)
)
def test_what_must_start_fast_loads_neither_torch_nor_ray(loaded: str) -> None:
    paths = [ROOT / loaded] if loaded.endswith(".py") else modules(loaded)
    code = "\n".join(
        [f"import {module_name(path)}" for path in paths if path.name != "__main__.py"]
        + ["import sys", f"print(sorted(set({HEAVY!r}) & set(sys.modules)))"]
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_every_file_is_short_enough_to_be_read_in_one_sitting() -> None:
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines())
        for path in modules(*PACKAGES)
    }
    too_long = {name: n for name, n in lengths.items() if n > LONGEST_FILE}
    assert too_long == {}
    short = [name for name, n in lengths.items() if n < 40 and not name.endswith("__init__.py")]
    assert len(short) < 8, short


def test_package_markers_are_empty() -> None:
    assert [
        p for p in modules(*PACKAGES) if p.name == "__init__.py" and p.read_text().strip()
    ] == []


ORDER = {
    "workers": (
        *(
            "speed_probe",
            "evaluator",
            "quality",
            "revisions",
            "texts",
            "latency",
            "models",
            "attention",
            "host",
        ),
        *("device", "precision", "contract"),
    ),
    "orchestrator": (
        *("cli", "api", "commands", "launch", "driver", "reports", "executors", "store", "cluster"),
        *("grid", "progress", "sweep", "process", "words", "errors"),
    ),
    "analysis": (
        *("cli", "api", "commands", "outputs", "figures", "drawing", "rows", "names", "errors"),
    ),
}
"""Rooms of each package: one may import what stands behind it (docs/architecture.md)."""
FROM_WORKERS = {
    "orchestrator/executors": {"contract", "host"},
    "orchestrator/grid": {"contract", "revisions"},
    "orchestrator/reports": {"contract", "revisions", "models", "texts"},
}
"""What may be imported from `workers` besides `contract`, by folder."""
MOST_FILES = 9


def room(name: str) -> tuple[str, str]:
    """Return package and folder (or top-level file) of a dotted module name."""
    package, _, rest = name.partition(".")
    return package, rest.split(".")[0]


def own_imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, full module name) of what a file imports of our packages."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PACKAGES:
            if node.module in PACKAGES:
                yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, str(node.module)


def test_every_file_stands_in_a_room_of_the_architecture() -> None:
    for path in modules(*PACKAGES):
        package, place = room(module_name(path))
        assert not place or place in ORDER[package], f"{path}: no such room in {package}/"


def test_a_folder_imports_only_what_stands_below_it() -> None:
    wrong = []
    for path in modules(*PACKAGES):
        package, own = room(module_name(path))
        for line, name in own_imports(path):
            other_package, other = room(name)
            order = ORDER[package]
            if other_package == package and order.index(other) < order.index(own):
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {name}, which stands above")
    assert not wrong, "\n".join(wrong)


def test_only_the_contract_of_the_workers_is_imported_from_outside() -> None:
    wrong = []
    for path in modules("orchestrator", "analysis"):
        folder = path.relative_to(ROOT).parent.as_posix()
        allowed = FROM_WORKERS.get(folder, {"contract"})
        for line, name in own_imports(path):
            if name.startswith("workers.") and room(name)[1] not in allowed:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {name}: not for {folder}/")
    assert not wrong, "\n".join(wrong)


def test_few_functions_are_private_and_used_once() -> None:
    """Such a function is a room that one passes through; parts of long stories are worth one."""
    total, once = 0, []
    for path in modules(*PACKAGES):
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                total += 1
                mentions = re.findall(rf"\b{node.name}\b", text)
                if re.match(r"_[^_]", node.name) and len(mentions) == 2:
                    lines = (node.end_lineno or 0) - node.lineno + 1
                    once.append((lines, path.relative_to(ROOT).as_posix(), node.name))
    share = len(once) / total
    assert 0.01 < share < MOST_USED_ONCE, f"{share:.1%}; the shortest: {sorted(once)[:20]}"


def test_no_folder_holds_more_than_nine_files() -> None:
    folders: dict[Path, int] = {}
    for path in modules(*PACKAGES):
        folders[path.parent] = folders.get(path.parent, 0) + (path.name != "__init__.py")
    assert {str(folder): n for folder, n in folders.items() if n > MOST_FILES} == {}


def public_definitions() -> dict[str, list[str]]:
    """Every public function and class by name, with the modules that define one."""
    found: dict[str, list[str]] = {}
    for path in modules(*PACKAGES):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                found.setdefault(node.name, []).append(path.relative_to(ROOT).as_posix())
    return found


def test_a_public_name_stands_for_one_thing() -> None:
    """A command and the API share their verb with what they call; every figure is a `page`."""

    def counts(name: str, place: str) -> bool:
        is_verb = "/commands/" in place or place.endswith(("/api.py", "/cli.py"))
        is_figure = place.startswith("analysis/figures/") and name in ("select", "page")
        return not is_verb and not is_figure and name != "main"

    shared = {
        name: own
        for name, places in public_definitions().items()
        if len(own := [place for place in places if counts(name, place)]) > 1
    }
    assert shared == {}


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def test_the_top_level_holds_nothing_unexpected() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in tracked()} <= TOP_LEVEL


def test_no_path_of_a_developers_machine_is_in_the_repository() -> None:
    private = re.compile(rb"(?<![\w.~-])/(work|root|Users|home/(?!ubuntu\b))/?\w*")
    for path in tracked():
        if path.suffix not in (".png", ".safetensors", ".parquet") and path != Path(__file__):
            found = private.search(path.read_bytes())
            assert found is None, f"{path}: {found}"
