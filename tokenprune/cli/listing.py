"""``tokenprune list``: what is installed."""

from __future__ import annotations

from typing import Annotated

import typer

from tokenprune.cli.catalogue import parts, summary
from tokenprune.cli.options import AsJson, Debug
from tokenprune.cli.terminal import CommandError, print_json, reported, stdout


def listing(
    pattern: Annotated[str, typer.Argument(help="Names to show, with wildcards: 'vis*'.", metavar="[NAME]")] = "*",
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """List the pipelines, strategies and model families that are installed."""
    with reported(debug):
        found = parts(pattern)
        if not any(found.values()):
            raise CommandError(f"no name matches {pattern!r}; 'tokenprune list' shows them all")
        summaries = {name: summary(name) for name in found.pop("pipelines")}
        if as_json:
            pipelines = [{"name": name, "summary": text} for name, text in summaries.items()]
            print_json({"pipelines": pipelines, **found})
        else:
            _print(summaries, found)


def _print(summaries: dict[str, str], others: dict[str, list[str]]) -> None:
    """Two tables: a line for each pipeline, a line for each kind of part."""
    from rich.table import Table
    from rich.text import Text

    pipelines = ("pipeline", "summary"), summaries
    rest = ("kind", "names"), {kind: ", ".join(names) for kind, names in others.items() if names}
    for heads, rows in (pipelines, rest):
        table = Table(*heads, box=None, header_style="bold", padding=(0, 2, 0, 0))
        for name, text in rows.items():
            table.add_row(Text(name, "cyan"), Text(text))
        if rows:
            stdout().print(table, "")
