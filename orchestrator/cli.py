"""The `sweep` command: parses arguments, calls the library, translates errors.

Every command lives in a file of its own in `orchestrator/commands/` and imports what it needs
when it runs: `sweep --help` must not wait for torch, ray or pyarrow.
"""

import click

from orchestrator.commands.doctor import doctor
from orchestrator.commands.drivers import cancel, watch
from orchestrator.commands.files import cluster_file, compact, fetch, init
from orchestrator.commands.launch import launch
from orchestrator.commands.options import SweepGroup, add_with_example
from orchestrator.commands.plan import plan
from orchestrator.commands.results import results
from orchestrator.commands.status import status
from orchestrator.commands.submit import submit
from orchestrator.process import run_command


@click.group(cls=SweepGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sinksweep")
def sweep() -> None:
    """Run grids of StreamingLLM evaluations into a store of plain Parquet files.

    Start with `sweep launch --grid quickstart --local`, then `analysis plot`.
    Exit codes: 0 all evaluations are in the store as ok; 1 some failed; 2 the command or the
    grid is wrong; 130 interrupted.
    """


EXAMPLES = {
    "init": "sweep init --model demo --text pydoc --out grid.yaml",
    "launch": "sweep launch --grid grid.yaml --inline --set max_tokens=200",
    "plan": "sweep plan --grid grid.yaml --price 2.50",
    "status": "sweep status --store results",
    "watch": "sweep watch --store results",
    "results": "sweep results --where method=streaming --sort perplexity --format csv",
    "cancel": "sweep cancel --store results",
    "compact": "sweep compact --store results",
    "submit": "sweep submit --grid quickstart --store /shared/results --address http://HEAD:8265",
    "fetch": "sweep fetch --from results --store copy",
    "doctor": "sweep doctor --store results",
    "cluster-file": "sweep cluster-file --head 10.0.0.1 --workers 10.0.0.2 --user me",
}
"""One for each command; a test runs them."""

for _command in (
    *(init, launch, plan, status, watch, results, cancel),
    *(compact, submit, fetch, doctor, cluster_file),
):
    add_with_example(sweep, _command, EXAMPLES)


def main() -> None:
    """Run the command line."""
    run_command(sweep, "sweep")


if __name__ == "__main__":
    main()
