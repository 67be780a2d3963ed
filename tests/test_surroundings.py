"""What is set for other programs decides nothing: every command in hostile environments.

Outputs are compared byte for byte with those of a quiet environment.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from orchestrator.store.store import Store
from tests.support.analysis_rows import quickstart

SCRIPTS = {"sweep": "orchestrator.cli", "analysis": "analysis.cli"}
GRID = "sweep: s\ngrids: [{model: demo, dataset: pydoc, method: streaming, max_tokens: 300}]\n"
COMMANDS = (
    "sweep --help",
    "sweep status --store store",
    "sweep results --store store",
    "sweep results --store store --format json",
    "sweep plan --grid grid.yaml --store store",
    "analysis --help",
    "analysis audit --store store",
    "analysis table --store store",
    "analysis table --store store --format csv",
    "analysis plot --store store --out OUT --figure results_summary --format svg",
)
RC = "savefig.bbox: tight\nfont.size: 30\ntext.usetex: True\nbackend: TkAgg\naxes.grid: False\n"
MODULES = ("numpy", "pandas", "yaml", "pyarrow", "matplotlib", "workers", "torch")
NOWHERE = "/proc/nowhere"
HOSTILE: Mapping[str, Mapping[str, str]] = {
    "notebook in ascii": {
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "PYTHONCOERCECLOCALE": "0",
        "LC_ALL": "C",
        "PYTHONIOENCODING": "ascii",
        **dict.fromkeys(("http_proxy", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9"),
    },
    "display in latin": {
        "MPLBACKEND": "TkAgg",
        "DISPLAY": ":77",
        "PYTHONUTF8": "0",
        "LC_ALL": "de_DE.ISO-8859-1",
        "LANG": "de_DE",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "MKL_VERBOSE": "1",
    },
    "no home, colour": {
        "HOME": NOWHERE,
        "XDG_CACHE_HOME": NOWHERE,
        "TERM": "dumb",
        "NO_COLOR": "",
        "FORCE_COLOR": "1",
        "CLICOLOR_FORCE": "1",
    },
    "no tmp, strict python": {
        "TMPDIR": NOWHERE,
        "PYTHONWARNINGS": "error",
        "PYTHONOPTIMIZE": "1",
        "PYTHONHASHSEED": "7",
    },
    "long paths, logs": {
        "HOME": "/" + "h" * 200,
        "TMPDIR": "/" + "t" * 200,
        "TORCH_LOGS": "garbage",
        "TRANSFORMERS_VERBOSITY": "loud",
        "RAY_USE_TLS": "1",
    },
    "ray and zone of others": {
        "RAY_ADDRESS": "10.1.2.3:6379",
        "RAY_LOG_TO_STDERR": "1",
        "RAY_TMPDIR": "/proc/x",
        "TZ": "Asia/Kathmandu",
        "LANGUAGE": "de:fr",
        "LC_NUMERIC": "de_DE.UTF-8",
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory in which everything lies that could be mistaken for ours."""
    folder = tmp_path_factory.mktemp("work")
    Store(folder / "store").append_trials(quickstart())
    (folder / "grid.yaml").write_text(GRID)
    (folder / "matplotlibrc").write_text(RC)
    for name in MODULES:
        (folder / f"{name}.py").write_text("raise SystemExit('a module of the user')\n")
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text("import sys; sys.stderr.flush()\n")
    return folder


def script(name: str) -> str:
    """Return the program of a console script, which has no folder of its own on the path."""
    return f"import sys; sys.path.pop(0); from {SCRIPTS[name]} import main; main()"


ONE_AFTER_ANOTHER = """
import os, sys
sys.path.pop(0)
from {module} import main
for command in sys.argv[1:]:
    sys.argv = command.split()
    print("== " + command, flush=True)
    try:
        main()
    except SystemExit as ending:
        print("==", ending.code, flush=True)
"""


def outputs(folder: Path, changes: Mapping[str, str], out: Path) -> dict[str, bytes]:
    """Return what every command prints and draws, and its exit code."""
    root = str(Path(__file__).resolve().parents[1])
    known = ("PATH", "HOME", "LD_LIBRARY_PATH")
    quiet = {key: value for key, value in os.environ.items() if key in known}
    # The empty entry is the working directory.
    path = {"PYTHONPATH": os.pathsep.join([root, str(folder / "site"), ""] if changes else [root])}
    found = {}
    for name, module in SCRIPTS.items():
        done = subprocess.run(
            [sys.executable, "-c", ONE_AFTER_ANOTHER.format(module=module)]
            + [
                command.replace("OUT", str(out)) for command in COMMANDS if command.startswith(name)
            ],
            cwd=folder,
            env={**quiet, **path, **changes},
            capture_output=True,
            check=False,
            timeout=300,
        )
        assert b"Traceback" not in done.stderr, done.stderr.decode(errors="replace")
        found[name] = done.stdout.replace(str(out).encode(), b"OUT")
    return found | {path.name: path.read_bytes() for path in sorted(out.glob("*.*g"))}


@pytest.fixture(scope="module")
def quiet(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    found = outputs(folder, {}, tmp_path_factory.mktemp("quiet"))
    assert [found[name].count(b"\n== 0\n") for name in SCRIPTS] == [5, 5], found
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_no_environment_changes_an_output(
    name: str, folder: Path, quiet: dict[str, bytes], tmp_path: Path
) -> None:
    found = outputs(folder, HOSTILE[name], tmp_path)
    assert found.keys() == quiet.keys()
    assert {key for key, content in found.items() if content != quiet[key]} == set()


@pytest.mark.parametrize("command", ["sweep results --store store", "analysis table --store store"])
def test_a_full_disk_and_a_closed_pipe_end_in_one_line(folder: Path, command: str) -> None:
    name, *arguments = command.split()
    run = [sys.executable, "-c", script(name), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            run, cwd=folder, env=environment, stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 1
    assert done.stderr.decode().splitlines()[-1].startswith("Error: cannot write the output")
    assert b"Traceback" not in done.stderr
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        run, cwd=folder, env=environment, stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


def test_a_terminal_that_lacks_a_sign_gets_another_spelling() -> None:
    code = (
        "import sys; sys.stdout.isatty = lambda: True\n"
        "from orchestrator.process import settle; settle()\n"
        "print('2\\u00d7 \\u2026 \\u2265 \\u22121 \\u4e2d')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        cwd=Path(__file__).resolve().parents[1],
        capture_output=True,
        check=True,
    )
    assert done.stdout == b"2x ... >= -1 ?\n"
