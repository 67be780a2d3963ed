"""The `analysis` command: parses arguments, calls the library, translates errors.

Every command lives in a file of its own in `analysis/commands/` and imports what it needs when
it runs: `analysis --help` must not wait for pandas or matplotlib.
"""

import gc

import click

from analysis.commands.audit import audit
from analysis.commands.compare import compare
from analysis.commands.plot import plot
from analysis.commands.report import report
from analysis.commands.table import table
from analysis.commands.transfer import export, import_
from orchestrator.commands.options import SweepGroup, add_with_example
from orchestrator.process import run_command


@click.group(cls=SweepGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sinksweep")
def analysis() -> None:
    """Turn the rows of a store into figures and tables.

    Only comparable rows are compared: same model, text and number format, and for speeds the
    same device, versions and timing settings. What was not measured stays empty.
    """


EXAMPLES = {
    "plot": "analysis plot --store results --figure main_comparison --format pdf",
    "table": "analysis table --store results --format latex",
    "report": "analysis report --store results --out report.html",
    "audit": "analysis audit --store results",
    "compare": "analysis compare results copy",
    "import": "analysis import reported --store results",
    "export": "analysis export reported --store results --format original",
}
"""One for each command; a test runs them."""

for _command in (plot, table, report, audit, compare, import_, export):
    add_with_example(analysis, _command, EXAMPLES)


def main() -> None:
    """Run the command line."""
    gc.set_threshold(50_000, 20, 20)  # frames and figures are many objects and little garbage
    run_command(analysis, "analysis")


if __name__ == "__main__":
    main()
