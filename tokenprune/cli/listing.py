"""``tokenprune list``: what is installed."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from tokenprune.cli import completing
from tokenprune.cli.catalogue import parts, summary
from tokenprune.cli.options import AsJson, Debug
from tokenprune.cli.terminal import CommandError, print_json, reported, stdout
from tokenprune.registry import suggest


class Kind(StrEnum):
    """Kinds of names."""

    pipelines = "pipelines"
    scorers = "scorers"
    splitters = "splitters"
    diversifiers = "diversifiers"
    mergers = "mergers"
    families = "families"


def listing(
    patterns: Annotated[
        list[str] | None,
        typer.Argument(
            help="Names to show, with wildcards: 'vis*' '*prune*'.",
            metavar="NAME",
            autocompletion=completing.anything,
            show_default=False,
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", metavar="NAME", help="Names to leave out, with wildcards.")
    ] = None,
    kind: Annotated[Kind | None, typer.Option("--kind", help="Names of one kind alone.", show_default="all")] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """List the pipelines, strategies and model families that are installed."""
    with reported(debug):
        found = parts(patterns or ["*"], exclude or [])
        if kind is not None:
            found = {name: names if name == kind else [] for name, names in found.items()}
        if not any(found.values()):
            raise CommandError(_nothing(patterns or [], bool(exclude), kind))
        summaries = {name: summary(name) for name in found.pop("pipelines")}
        if as_json:
            pipelines = [{"name": name, "summary": text} for name, text in summaries.items()]
            print_json({"pipelines": pipelines, **found})
        else:
            _print(summaries, found)


def _nothing(patterns: list[str], excluded: bool, kind: Kind | None) -> str:
    """Why the list is empty, and what to do."""
    among = f" among the {kind}" if kind else ""
    asked = " or ".join(map(repr, patterns)) if patterns else "what was asked"
    near = suggest(patterns[0], completing.anything("")) if len(patterns) == 1 and not excluded else ""
    return f"no name{among} matches {asked}{near or ';'} 'tokenprune list' shows them all"


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
