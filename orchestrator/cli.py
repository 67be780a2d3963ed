"""The `sweep` command: parses arguments, calls the library, translates errors.

Every command lives in a file of its own in `orchestrator/commands/` and imports what it needs
when it runs: `sweep --help` must not wait for torch, ray or pyarrow.
"""

import click

from orchestrator.commands.doctor import doctor
from orchestrator.commands.drivers import cancel, watch
from orchestrator.commands.files import cluster_file, compact, fetch
from orchestrator.commands.launch import launch
from orchestrator.commands.options import SweepGroup
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


for _command in (
    *(launch, plan, status, watch, results, cancel),
    *(compact, submit, fetch, doctor, cluster_file),
):
    sweep.add_command(_command)


def main() -> None:
    """Run the command line."""
    run_command(sweep, "sweep")


if __name__ == "__main__":
    main()
