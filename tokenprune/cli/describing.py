"""``tokenprune schema``: what a pipeline file may hold, for editors and other programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from tokenprune.cli.options import AsJson, Debug
from tokenprune.cli.terminal import CommandError, note, reported


def schema(
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write it to a file.", show_default="stdout")
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Print the JSON schema of pipeline files; it holds every strategy that is installed, third-party ones too."""
    with reported(debug):
        from tokenprune.schema import editor_schema

        text = json.dumps(editor_schema(), indent=2)
        if out is None:
            typer.echo(text)
            return
        try:
            out.write_text(text + "\n", encoding="utf-8")
        except OSError as problem:
            raise CommandError(f"cannot write the schema to {str(out)!r}: {problem}") from problem
        note("schema", str(out))
