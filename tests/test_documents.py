"""The documents are true: their links lead somewhere, their commands and options exist."""

import re
import shlex
import textwrap
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import click
import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.name))
def test_every_link_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")):
        file, _, anchor = target.partition("#")
        if not target.startswith(("http://", "https://")):
            destination = (document.parent / file) if file else document
            assert destination.exists(), target
            assert not anchor or anchor in headings(destination), target


def headings(document: Path) -> set[str]:
    titles = re.findall(r"^#+ +(.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.name))
def test_every_command_in_a_code_block_exists_with_its_options(document: Path) -> None:
    for line in shell_lines(document):
        words = shlex.split(line, comments=True)
        if words and words[0] in ("sweep", "analysis"):
            check_command(words)
        elif words and words[0] == "make":
            targets = {word for word in words[1:] if "=" not in word}
            assert targets <= make_targets(), line


def shell_lines(document: Path) -> Iterator[str]:
    text = document.read_text(encoding="utf-8")
    for block in re.findall(r"^```(?:sh|bash|console)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            for command in re.split(r"\s*(?:&&|\|\|?|;)\s*", line.removeprefix("$ ")):
                yield re.sub(r"^(\w+=\S+\s+)+", "", command.strip())


def check_command(words: list[str]) -> None:
    command: click.Command = command_group(words[0])
    arguments = words[1:]
    while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        name = arguments.pop(0)
        assert name in command.commands, f"{words}: no command {name}"
        command = command.commands[name]
    known = {"--help", "--version"} | {
        option for p in command.params for option in [*p.opts, *p.secondary_opts]
    }
    used = {argument.split("=")[0] for argument in arguments if re.match(r"--?[a-z]", argument)}
    assert used <= known, f"{words}: unknown {used - known}"


def command_group(name: str) -> click.Group:
    module = import_module({"sweep": "orchestrator.cli", "analysis": "analysis.cli"}[name])
    (group,) = (
        value
        for value in vars(module).values()
        if isinstance(value, click.Group) and value.name in (name, "main", "cli")
    )
    return group


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_every_command_is_documented() -> None:
    text = "\n".join(document.read_text(encoding="utf-8") for document in DOCUMENTS)
    for name in ("sweep", "analysis"):
        missing = [c for c in command_group(name).commands if f"{name} {c}" not in text]
        assert missing == []


def test_the_figure_of_the_recipe_can_be_drawn() -> None:
    from analysis.drawing.style import Look
    from analysis.figures.registry import Family
    from analysis.rows import blocks, comparable, frames
    from tests.support.analysis_rows import quickstart, table

    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^ +```python\n(.*?)^ +```", text, re.MULTILINE | re.DOTALL)
    recipe = ModuleType("recipe")
    exec(textwrap.dedent(code), vars(recipe))  # what the recipe tells a reader to write
    rows = table(quickstart())
    data = recipe.select(comparable.choose(frames.tidy(rows)))
    look = Look()
    figure = Family(recipe.select, recipe.page).draw(data, blocks.from_table(rows), look)
    points = figure.axes[0].collections[0].get_offsets()
    assert len(points) == len(data.rows) > 10
