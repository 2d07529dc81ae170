"""``tokenprune inspect``: what attaching to a model would find, before its weights are there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tokenprune.cli.options import AsJson, Debug
from tokenprune.cli.terminal import CommandError, print_json, reported, stderr, stdout

if TYPE_CHECKING:
    from tokenprune.inspection import Inspection


def inspect(
    model: Annotated[
        str, typer.Argument(help="A folder, a config.json, a hub id, or a model type.", metavar="DIR|FILE|HUB_ID|TYPE")
    ],
    image: Annotated[
        str | None,
        typer.Option("--image", metavar="WxH|FILE", help="Count the tokens of an image of this size, as in 640x480."),
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option("--frames", metavar="N", min=1, help="Count those of a video of N frames of that size too."),
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Say what can be pruned of a model, from its config alone; no weights are read."""
    with reported(debug):
        size = None if image is None else image_size(image)
        if frames and size is None:
            raise CommandError("--frames counts frames of the size that --image says, as in --image 640x480 --frames 8")
        from tokenprune.cli.models import quiet_transformers
        from tokenprune.inspection import inspect_model

        with stderr().status("laying out the model"), quiet_transformers():
            found = inspect_model(model, size, frames)
        if as_json:
            print_json(found.to_dict())
        else:
            _print(found)


def image_size(text: str) -> tuple[int, int]:
    """(height, width) that a text says, or of the picture in the file that it names.

    Raises:
        CommandError: it does neither.
    """
    from tokenprune.cli.pictures import opened

    said = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if said is None and not Path(text).exists() and "." not in text:
        raise CommandError(f"--image takes a width and a height, as in 640x480, or a picture; got {text!r}")
    width, height = opened(Path(text)).size if said is None else map(int, said.groups())
    if not width or not height:
        raise CommandError(f"an image of {text} has no pixels")
    return height, width


def _print(found: Inspection) -> None:
    """A line for each fact, then one for each pipeline."""
    from rich.table import Table
    from rich.text import Text

    facts = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, fact in _facts(found).items():
        facts.add_row(Text(name, "bold"), Text(fact))
    stdout().print(facts)
    if not found.pipelines:
        return
    table = Table("pipeline", "applies", box=None, header_style="bold", padding=(0, 2, 0, 0))
    for name, reason in found.pipelines.items():
        table.add_row(Text(name, "cyan"), Text("yes" if reason is None else f"no: {reason}"))
    stdout().print("", table)


def _facts(found: Inspection) -> dict[str, str]:
    """What is known, in words."""
    facts = {"model": found.model or found.model_type, "family": found.family or "none"}
    if found.refused is not None:
        return {**facts, "refused": found.refused}
    facts["encoder"] = f"{found.encoder} at {found.tower}" if found.encoder else "none"
    facts["attention"] = f"{found.attention}, {found.depth} layers" if found.attention else "none is read"
    if found.attention:
        facts["CLS token"] = {None: "none", "own": "read in a way of its own"}.get(found.cls, str(found.cls))
        facts["cues"] = ", ".join(found.cues.values())
    facts |= {"layout": str(found.layout), "positions": str(found.positions)}
    if found.videos is not None:
        facts["videos"] = found.videos.how
    return facts | _counts(found)


def _counts(found: Inspection) -> dict[str, str]:
    """Tokens of the image and of the video that were asked about."""
    if (asked := found.placeholders) is None:
        return {}
    pixels, video = f"{asked.width} x {asked.height} pixels", found.videos
    counts = {"tokens": _counted(asked.count, f"for {pixels}", asked.note)}
    if video is not None and video.frames is not None:
        what = f"for {video.frames} frames of {pixels}, {video.rows} rows"
        counts["of a video"] = _counted(video.count, what, video.note)
    return counts


def _counted(count: int | None, what: str, note: str) -> str:
    return f"not known {what}: {note}" if count is None else f"{count} {what}" + (f" ({note})" if note else "")
