"""Options that mean the same in every command."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tokenprune.cli import completing


class Positions(StrEnum):
    """Policies for position ids."""

    keep = "keep"
    renumber = "renumber"


class Dtype(StrEnum):
    """Number formats that models run in."""

    auto = "auto"
    float32 = "float32"
    float16 = "float16"
    bfloat16 = "bfloat16"


class SceneSet(StrEnum):
    """Sets of drawn scenes."""

    sparse = "sparse"
    crowded = "crowded"


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON in place of tables.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error, and every warning.")]

ImageFile = Annotated[Path, typer.Option("--image", help="The picture to ask about.", metavar="FILE")]
Prompt = Annotated[str, typer.Option("--prompt", help="The question.", metavar="TEXT")]
ModelName = Annotated[
    str | None,
    typer.Option("--model", metavar="DIR_OR_HUB_ID", help="The model to ask.", show_default="the embedded toy"),
]
PipelineName = Annotated[
    str,
    typer.Option(
        "--pipeline",
        metavar="NAME|FILE",
        help="A registered pipeline, or a YAML file.",
        autocompletion=completing.pipelines,
    ),
]
BudgetText = Annotated[
    str | None,
    typer.Option(
        "--budget",
        metavar="TOKENS|SHARE",
        help="Tokens kept of an image, such as 64, 0.25 or 11.1%.",
        show_default="the pipeline's",
    ),
]
PositionIds = Annotated[
    Positions | None,
    typer.Option("--positions", help="Position ids of the tokens kept.", show_default="the model family's"),
]
NewTokens = Annotated[
    int | None,
    typer.Option("--max-new-tokens", min=1, help="Length of an answer.", show_default="the model's, else 64"),
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device", metavar="NAME", help="cpu, cuda:0, ...", show_default="a GPU if there is one; embedded: cpu"
    ),
]
DtypeName = Annotated[
    Dtype | None,
    typer.Option("--dtype", help="Number format of the weights.", show_default="as saved; embedded: float32"),
]
PictureOut = Annotated[Path | None, typer.Option("--out", help="Write a picture of the tokens kept.", metavar="FILE")]
Sheet = Annotated[Path, typer.Option("--out", help="Where the picture goes.", metavar="FILE")]
Index = Annotated[int, typer.Option("--index", min=0, help="Number of the scene in its set.")]
Set = Annotated[SceneSet, typer.Option("--set", help="Scenes with few things in them, or with many.")]
Scenes = Annotated[
    int, typer.Option("--scenes", min=0, help="Count right answers over so many scenes too; takes seconds a scene.")
]

ModelSize = Annotated[
    str,
    typer.Argument(
        help="A size that is built in, a folder, a config.json, a hub id, or a model type.",
        metavar="NAME|DIR|FILE|HUB_ID|TYPE",
    ),
]
Pipelines = Annotated[
    str,
    typer.Option(
        "--pipelines",
        metavar="NAMES",
        help="Names or YAML files, with commas.",
        autocompletion=completing.several_pipelines,
    ),
]
AllPipelines = Annotated[
    str,
    typer.Option(
        "--pipelines",
        metavar="NAMES",
        help="Names or YAML files, with commas; 'all' are those installed.",
        autocompletion=completing.several_pipelines,
    ),
]
Budgets = Annotated[
    str | None,
    typer.Option(
        "--budgets",
        metavar="LIST",
        help="Tokens kept of an image: 64,11.1%,...",
        show_default="the pipelines'",
    ),
]
ImageSize = Annotated[
    str | None,
    typer.Option("--image", metavar="WxH|FILE", help="Size of the image.", show_default="one that suits the model"),
]
TextTokens = Annotated[int, typer.Option("--text", min=1, help="Tokens of text in the prompt.")]
ColumnNames = Annotated[
    str,
    typer.Option(
        "--columns",
        metavar="LIST",
        help="Columns of a file, such as image=photo,answer=label; roles: image, question, answer, key, kind, choices.",
    ),
]
Images = Annotated[
    Path | None, typer.Option("--images", metavar="DIR", help="Where paths of images begin.", show_default="the file's")
]
