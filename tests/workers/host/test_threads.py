"""How threads wait: politely, unless the user has said otherwise, and before torch is there."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CODE = """
import json, os, sys
from workers.host.evaluator_host import build_evaluator
build_evaluator("torch:Generator", {})  # all that a real one imports first
print(json.dumps([os.environ.get("GOMP_SPINCOUNT"), "torch" in sys.modules]))
"""


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "1000"),
        ({"GOMP_SPINCOUNT": "5"}, "5"),
        ({"OMP_WAIT_POLICY": "active"}, None),
    ],
)
def test_a_short_spin_is_set_unless_the_user_chose(
    given: dict[str, str], expected: str | None
) -> None:
    kept = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        cwd=ROOT,
        env={**kept, **given},
        capture_output=True,
        text=True,
        check=False,
    )
    assert json.loads(done.stdout) == [expected, True], done.stderr


def test_torch_is_not_there_before_the_spin_is_set() -> None:
    code = "import sys\nfrom workers.host import evaluator_host\nprint('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "False", done.stderr
