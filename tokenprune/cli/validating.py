"""``tokenprune validate``: every mistake in pipeline files."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from tokenprune.cli import completing
from tokenprune.cli.catalogue import yaml_text
from tokenprune.cli.options import AsJson, Debug
from tokenprune.cli.terminal import note, print_json, reported, stdout
from tokenprune.errors import TokenpruneError

if TYPE_CHECKING:
    from tokenprune.validation import Mistake


def validate(
    files: Annotated[
        list[str],
        typer.Argument(
            help="YAML files, or names of registered pipelines.",
            metavar="FILE|NAME",
            autocompletion=completing.pipelines,
        ),
    ],
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Find every mistake in pipeline files, with its line, its column and what would be right."""
    with reported(debug):
        found = {source: _checked(source) for source in files}
        if as_json:
            plain = [(source, [asdict(one) for one in mistakes]) for source, (_, mistakes) in found.items()]
            print_json([{"file": source, "valid": not wrong, "mistakes": wrong} for source, wrong in plain])
        else:
            for source, (lines, mistakes) in found.items():
                _print(source, lines, mistakes)
        count, wrong = sum(len(mistakes) for _, mistakes in found.values()), sum(bool(m) for _, m in found.values())
        if wrong:
            many = f"{count} mistake{'s' * (count != 1)} in {wrong} of {len(found)} file{'s' * (len(found) != 1)}"
            note("error", many, "bold red")
            raise typer.Exit(1)


def _checked(source: str) -> tuple[list[str], list[Mistake]]:
    """The lines of a file, and its mistakes; one that cannot be read is one mistake, so that the others are read."""
    from tokenprune.validation import Mistake, check_text

    try:
        text = yaml_text(source)
    except TokenpruneError as problem:
        return [], [Mistake(1, 1, "", str(problem))]
    return text.splitlines(), check_text(text)


def _print(source: str, lines: list[str], mistakes: list[Mistake]) -> None:
    """As compilers say it, so that editors can jump there: the place, what is wrong, and the line it stands in."""
    from rich.text import Text

    if not mistakes:
        stdout().print(Text.assemble((source, "bold"), ": ", ("valid", "green")), soft_wrap=True)
    for one in mistakes:
        at = f"{source}:{one.line}:{one.column}"
        key = f"{one.key}: " if one.key else ""
        stdout().print(Text.assemble((at, "bold"), ": ", (key, "cyan"), one.message), soft_wrap=True)
        if one.line <= len(lines):
            stdout().print(Text(f"    {lines[one.line - 1]}\n    {' ' * (one.column - 1)}^", "dim"), soft_wrap=True)
