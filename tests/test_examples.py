"""The example at the end of every `--help` does what it says."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from analysis.cli import analysis
from orchestrator.cli import sweep

PROGRAMS = {"sweep": sweep, "analysis": analysis}
EXPECTED = {"submit": 1}
"""Exit codes that are not 0: no cluster's head answers here."""
SHORTER = ("dataset=pydoc", "max_tokens=160", "decode_tokens=8", "repeats=1")
"""What the sweeps of the examples are cut down to."""
ORDER = ("init", "launch", "plan", "status", "fetch", "export", "import")
"""What makes the files that the others read."""


def examples() -> list[tuple[str, str]]:
    """Return (program, example) for every command, in an order in which they can run."""
    found = [
        (program, name, (command.epilog or "").partition("Example: ")[2])
        for program, group in PROGRAMS.items()
        for name, command in group.commands.items()
    ]
    rank = {name: place for place, name in enumerate(ORDER)}
    found.sort(key=lambda item: rank.get(item[1], len(rank)))
    return [(program, example) for program, _, example in found]


def test_every_command_shows_its_example() -> None:
    for program, example in examples():
        words = shlex.split(example)
        assert words[0] == program, example
        shown = CliRunner().invoke(PROGRAMS[program], [words[1], "--help"]).output
        assert example in shown


@pytest.mark.slow
def test_every_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for program, example in examples():
        words = shlex.split(example.replace("HEAD:8265", "127.0.0.1:9"))
        if words[1] in ("launch", "plan"):
            words += [word for change in SHORTER for word in ("--set", change)]
        done = CliRunner().invoke(PROGRAMS[program], words[1:])
        assert done.exit_code == EXPECTED.get(words[1], 0), f"{example}: {done.output}"
        assert "Traceback" not in done.output
    for made in ("grid.yaml", "my-cluster.yaml", "report.html", "copy", "reported"):
        assert Path(made).exists()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_tab_completion_is_one_line(program: str, shell: str) -> None:
    if shutil.which("bash") is None:
        pytest.skip("click asks bash for its version")
    variable = f"_{program.upper()}_COMPLETE"
    module = {"sweep": "orchestrator.cli", "analysis": "analysis.cli"}[program]
    done = subprocess.run(
        [sys.executable, "-c", f"from {module} import main; main()"],
        env={**os.environ, variable: f"{shell}_source"},
        cwd=Path(__file__).resolve().parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert variable in done.stdout
