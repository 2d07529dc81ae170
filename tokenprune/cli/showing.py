"""``tokenprune show``: one pipeline."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokenprune.cli import completing
from tokenprune.cli.catalogue import yaml_text
from tokenprune.cli.options import AsJson, Debug
from tokenprune.cli.terminal import note, print_json, reported

if TYPE_CHECKING:
    from tokenprune.pipeline import Pipeline

SCHEMA = "pipeline.schema.json"
SCHEMA_COMMAND = f"tokenprune schema --out {SCHEMA}"
_FOR_EDITORS = re.compile(r"^# yaml-language-server:.*\n", re.MULTILINE)
_COMMENTS = re.compile(r"(?:#.*\n)*")


def show(
    name: Annotated[
        str,
        typer.Argument(
            help="A registered pipeline, or a YAML file.", metavar="NAME|FILE", autocompletion=completing.pipelines
        ),
    ],
    as_yaml: Annotated[bool, typer.Option("--yaml", help="Print YAML to start a pipeline of your own from.")] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Print the YAML of a pipeline; --json prints every setting, defaults included."""
    if as_yaml and as_json:
        raise typer.BadParameter("write --yaml or --json, not both")
    with reported(debug):
        if as_json:
            from tokenprune import load

            print_json(resolved(load(name)))
        elif as_yaml:
            typer.echo(with_schema(yaml_text(name)), nl=False)
            note("note", f"give it a name of its own, and '{SCHEMA_COMMAND}' beside it tells editors its keys")
        else:
            typer.echo(yaml_text(name), nl=False)


def with_schema(text: str) -> str:
    """A YAML text whose line for editors names the schema beside it; it goes before the first key if there is none."""
    line = f"# yaml-language-server: $schema={SCHEMA}\n"
    if _FOR_EDITORS.search(text):
        return _FOR_EDITORS.sub(lambda _: line, text)
    head = _COMMENTS.match(text)
    at = head.end() if head else 0
    return text[:at] + line + text[at:]


def resolved(pipeline: Pipeline) -> dict[str, Any]:
    """A pipeline as plain values with every setting in them; `load` reads the same pipeline back."""
    from tokenprune.named import name_of
    from tokenprune.strategy import Strategy

    plain = pipeline.model_dump(mode="json")
    plain["stages"] = [
        {
            key: {"use": name_of(value), **value.model_dump(mode="json")} if isinstance(value, Strategy) else value
            for key, value in stage
        }
        for stage in pipeline.stages
    ]
    return plain
