"""How many files and functions one passes on three ways through the code, counted by a trace.

`python -m benchmarks.journeys`: one inline evaluation from its grid file to its row, that row to a
bar, and a failure to its retry. Fewer rooms on a way make it easier to follow; docs/log.md keeps
the figures. Only what is entered counts, not what is imported.
"""

import inspect
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from analysis.cli import analysis
from benchmarks.noop import NoopEvaluator
from orchestrator.driver.loop import LaunchOptions, run_sweep
from orchestrator.executors.inline import InlineExecutor
from orchestrator.grid.load import load_grid
from orchestrator.launch import Where, launch_sweep
from orchestrator.progress.snapshot import Silent
from orchestrator.store.store import Store
from workers.contract.events import Assignment, Evaluation

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("workers", "orchestrator", "analysis")
GRID = """
sweep: journey
defaults: {model: demo, dataset: pydoc, max_tokens: 300, window_size: 60, measure: [quality]}
grids: [{method: streaming}]
"""


class Trace:
    """Notes the functions of our packages that are entered, while it is on, in any thread."""

    def __init__(self) -> None:
        self.functions: set[tuple[str, str]] = set()
        self.is_on = False
        self.within: tuple[str, ...] = ()
        """Only what these call counts; empty: everything."""
        self.until = ""
        """The function that ends the trace."""

    def _is_within(self, frame: FrameType | None) -> bool:
        while frame is not None and frame.f_code.co_qualname not in self.within:
            frame = frame.f_back
        return frame is not None

    def note(self, frame: FrameType, event: str, argument: object) -> None:
        """See `sys.setprofile`."""
        is_function = frame.f_code.co_flags & inspect.CO_OPTIMIZED  # not a module, not a class body
        if event != "call" or not self.is_on or not is_function:
            return
        if self.within and not self._is_within(frame):
            return
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] in PACKAGES:
            name = path.relative_to(ROOT).as_posix()
            self.functions.add((name, frame.f_code.co_qualname))
            self.is_on = frame.f_code.co_qualname != self.until

    @contextmanager
    def everywhere(self) -> Iterator[None]:
        """Trace this thread and those that start meanwhile."""
        threading.setprofile(self.note)
        sys.setprofile(self.note)
        try:
            yield
        finally:
            sys.setprofile(None)
            threading.setprofile(None)

    def report(self, what: str) -> None:
        """Print the counts, and the files."""
        files = sorted({name for name, _ in self.functions})
        print(f"{what}: {len(files)} files, {len(self.functions)} functions")
        print("   ", " ".join(files))
        self.functions.clear()


TRACE = Trace()


class FailingOnce(NoopEvaluator):
    """Fails in its first attempt; from then on the trace is on."""

    def run(self, assignment: Assignment) -> Evaluation:
        """Raise, or end like a no-op."""
        TRACE.is_on = assignment.attempt == 1
        if assignment.attempt == 1:
            raise ValueError("for the trace")
        return (yield from super().run(assignment))


def one_evaluation(folder: Path) -> Store:
    """Run a grid of one evaluation in this process."""
    folder.mkdir()
    grid, store = folder / "grid.yaml", Store(folder / "store")
    grid.write_text(GRID)
    launch_sweep(load_grid(str(grid)), store, Where(inline=True), LaunchOptions(), Silent())
    return store


def bar(store: Store) -> None:
    """Draw the comparison from a store."""
    with suppress(SystemExit):
        analysis(["plot", "--store", store.uri, "--figure", "main_comparison"])


def main() -> None:
    """Count on all three ways; each is gone once without the trace, so that all is imported."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bar(one_evaluation(folder / "first"))
        TRACE.is_on = True
        with TRACE.everywhere():
            store = one_evaluation(folder / "second")
        TRACE.report("from a grid file to a row")
        with TRACE.everywhere():
            bar(store)
        TRACE.report("from a row to a bar")
        TRACE.is_on, TRACE.until = False, "Queue.add"
        TRACE.within = ("EvaluatorHost.events", "Outcomes.handle")
        with TRACE.everywhere():
            executor = InlineExecutor(evaluator="__main__:FailingOnce")
            sweep = load_grid(str(folder / "second" / "grid.yaml"))
            run_sweep(sweep, Store(folder / "failing"), executor, LaunchOptions(), Silent())
        TRACE.report("from a failure to its retry")


if __name__ == "__main__":
    main()
