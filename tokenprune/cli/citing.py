"""``tokenprune cite``: BibTeX of this software, and of the methods."""

from __future__ import annotations

from typing import Annotated

import typer

from tokenprune.cli import completing
from tokenprune.cli.bibliography import papers, software
from tokenprune.cli.options import AsJson, Debug
from tokenprune.cli.terminal import note, print_json, reported


def cite(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Pipelines, whose papers are printed.",
            metavar="NAME",
            autocompletion=completing.pipelines,
            show_default="the software",
        ),
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Print BibTeX of the software, or of the papers that pipelines come from."""
    with reported(debug):
        found = [one for name in names for one in papers(name)] if names else [software()]
        unique = list({one.text: one for one in found}.values())
        if as_json:
            print_json([{"kind": one.kind, "key": one.key, "fields": one.fields, "bibtex": one.text} for one in unique])
            return
        typer.echo("\n\n".join(one.text for one in unique))
        if names:
            note("note", "'tokenprune cite' without a name prints the entry of the software")
