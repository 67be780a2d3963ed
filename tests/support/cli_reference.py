"""The reference of the command lines, from the commands themselves.

`python -m tests.support.cli_reference` writes docs/cli.md; a test compares.
"""

from pathlib import Path

import click

from analysis.cli import analysis
from orchestrator.cli import sweep

FILE = Path(__file__).parents[2] / "docs" / "cli.md"
HEAD = """# Commands

Made by `python -m tests.support.cli_reference` from the commands' own help; `sweep COMMAND --help`
says the same.

Exit codes of both programs: 0 done; for `sweep launch`, every evaluation of the grid is in the
store as `ok`. 1: some failed, or a store or cluster did. 2: the command or the grid is wrong, and
nothing was started. 130: interrupted, by Ctrl-C or `sweep cancel`.
"""


def reference() -> str:
    """Return docs/cli.md."""
    parts = [HEAD]
    for group, program in ((sweep, "sweep"), (analysis, "analysis")):
        parts += [
            _section(f"{program} {name}", group.commands[name]) for name in sorted(group.commands)
        ]
    return "\n".join(parts)


def _section(name: str, command: click.Command) -> str:
    context = click.Context(command, info_name=name)
    lines = [f"## {name}", "", *_paragraphs(command.help or ""), ""]
    lines += ["| option | | default |", "| --- | --- | --- |"]
    lines += [
        _row(context, option) for option in command.params if isinstance(option, click.Option)
    ]
    example = (command.epilog or "").partition("Example: ")[2]
    return "\n".join([*lines, "", f"Example: `{example}`", ""])


def _paragraphs(text: str) -> list[str]:
    paragraphs = [" ".join(block.split()) for block in text.split("\n\n")]
    return "\n\n".join(paragraphs).split("\n")


def _row(context: click.Context, option: click.Option) -> str:
    names = ", ".join([*option.opts, *option.secondary_opts])
    kind = "" if option.is_flag else f" {option.make_metavar(context)}"
    shown = option.show_default and option.default is not None
    default = f"`{_default(option)}`" if shown else ""
    cells = [f"`{names}{kind}`", option.help or "", default]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(option: click.Option) -> object:
    if option.secondary_opts:
        return option.opts[0] if option.default else option.secondary_opts[0]
    return option.default


if __name__ == "__main__":
    FILE.write_text(reference(), encoding="utf-8")
