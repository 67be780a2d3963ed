"""The `analysis` command: parses arguments, calls the library, translates errors.

Every command lives in a file of its own in `analysis/commands/` and imports what it needs when
it runs: `analysis --help` must not wait for pandas or matplotlib.
"""

import click

from analysis.commands.audit import audit
from analysis.commands.compare import compare
from analysis.commands.plot import plot
from analysis.commands.report import report
from analysis.commands.table import table
from analysis.commands.transfer import export, import_
from orchestrator.commands.options import SweepGroup
from orchestrator.process import run_command


@click.group(cls=SweepGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sinksweep")
def analysis() -> None:
    """Turn the rows of a store into figures and tables.

    Only comparable rows are compared: same model, text and number format, and for speeds the
    same device, versions and timing settings. What was not measured stays empty.
    """


for _command in (plot, table, report, audit, compare, import_, export):
    analysis.add_command(_command)


def main() -> None:
    """Run the command line."""
    run_command(analysis, "analysis")


if __name__ == "__main__":
    main()
