"""``tokenprune show``: one pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokenprune.cli import completing
from tokenprune.cli.catalogue import yaml_text
from tokenprune.cli.options import AsJson, Debug
from tokenprune.cli.terminal import print_json, reported

if TYPE_CHECKING:
    from tokenprune.pipeline import Pipeline


def show(
    name: Annotated[
        str,
        typer.Argument(
            help="A registered pipeline, or a YAML file.", metavar="NAME|FILE", autocompletion=completing.pipelines
        ),
    ],
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Print the YAML of a pipeline; --json prints every setting, defaults included."""
    with reported(debug):
        if not as_json:
            typer.echo(yaml_text(name), nl=False)
            return
        from tokenprune import load

        print_json(resolved(load(name)))


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
