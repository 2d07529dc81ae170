"""``tokenprune show``: one pipeline, or one part."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokenprune.cli import completing
from tokenprune.cli.catalogue import yaml_text
from tokenprune.cli.options import AsJson, Debug
from tokenprune.cli.terminal import CommandError, note, print_json, reported, stdout
from tokenprune.registry import list_pipelines, list_strategies

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
            help="A pipeline, a YAML file, or a part.",
            metavar="NAME|FILE",
            autocompletion=completing.pipelines,
        ),
    ],
    as_yaml: Annotated[bool, typer.Option("--yaml", help="Print YAML to start a pipeline of your own from.")] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Print a pipeline: its YAML, its paper, what it reads, its parts; or one part, as in 'scorers:cls_attention'."""
    if as_yaml and as_json:
        raise typer.BadParameter("write --yaml or --json, not both")
    with reported(debug):
        if as_yaml:
            typer.echo(with_schema(yaml_text(name)), nl=False)
            note("note", f"give it a name of its own, and '{SCHEMA_COMMAND}' beside it tells editors its keys")
        elif kind := _kind_of(name):
            _show_part(kind, name.rpartition(":")[2], as_json)
        else:
            _show_pipeline(name, yaml_text(name), as_json)


def _kind_of(name: str) -> str | None:
    """The kind of part that a name means: the one before its colon, or the only one where no pipeline is called so."""
    kind, colon, _ = name.rpartition(":")
    kinds = [one for one, names in list_strategies().items() if (kind == one if colon else name in names)]
    if name in list_pipelines() or not kinds:
        return None
    if len(kinds) > 1:
        raise CommandError(
            f"{name!r} is a name of several kinds; write {' or '.join(f'{one}:{name}' for one in kinds)}"
        )
    return kinds[0]


def _show_part(kind: str, name: str, as_json: bool) -> None:
    from tokenprune.about import part
    from tokenprune.cli.sheet import part_text

    found = part(kind, name)
    if as_json:
        print_json(found.to_dict())
    else:
        typer.echo(part_text(found, stdout().width))


def _show_pipeline(name: str, text: str, as_json: bool) -> None:
    from tokenprune import load
    from tokenprune.cli.sheet import about, pipeline_text

    pipeline, registered = load(name), name in list_pipelines()
    if as_json:
        print_json({"pipeline": resolved(pipeline), **about(name, pipeline, registered)})
    else:
        typer.echo(f"{text.rstrip()}\n\n{pipeline_text(name, pipeline, registered, stdout().width)}", nl=False)


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
    for told, stage in zip(plain["stages"], pipeline.stages, strict=True):
        parts = {key: value for key, value in stage if isinstance(value, Strategy)}
        told |= {key: {"use": name_of(part), **part.model_dump(mode="json")} for key, part in parts.items()}
    return plain
