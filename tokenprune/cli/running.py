"""``tokenprune run``: one image, one prompt, with all tokens and with those that a pipeline keeps."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tokenprune.cli.figures import share, short
from tokenprune.cli.models import few_threads
from tokenprune.cli.options import (
    AsJson,
    BudgetText,
    Debug,
    Device,
    Dtype,
    DtypeName,
    ImageFile,
    ModelName,
    NewTokens,
    PictureOut,
    PipelineName,
    PositionIds,
    Positions,
    Prompt,
)
from tokenprune.cli.terminal import note, print_json, reported, stderr, stdout

if TYPE_CHECKING:
    from PIL.Image import Image

    from tokenprune.budget import Budget
    from tokenprune.cli.asking import Both
    from tokenprune.pipeline import Pipeline
    from tokenprune.receipt import Receipt


def run(
    image: ImageFile,
    prompt: Prompt,
    model: ModelName = None,
    pipeline: PipelineName = "vispruner",
    budget: BudgetText = None,
    positions: PositionIds = None,
    max_new_tokens: NewTokens = None,
    device: Device = None,
    dtype: DtypeName = None,
    out: PictureOut = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Ask a model about an image, with all its tokens and with those that a pipeline keeps."""
    with reported(debug), few_threads(model):
        picture = _checked(image, prompt, model is None, out)
        chosen = configured(pipeline, budget, positions)
        both, processor = _asked(model, device, dtype, chosen, picture, prompt, max_new_tokens)
        if as_json:
            print_json({"image": str(image), "model": model or "embedded", "prompt": prompt, **both.to_dict()})
        else:
            _print(both)
        if out is not None:
            _draw(processor, picture, prompt, both.receipt, out)
            note("picture", str(out))


def _checked(image: Path, prompt: str, embedded: bool, out: Path | None) -> Image:
    """The picture, once everything that costs nothing has been checked."""
    from tokenprune.cli.models import check_words
    from tokenprune.cli.pictures import check_target, opened
    from tokenprune.scenes.grounds import SIZE

    if not prompt.strip():
        raise typer.BadParameter("the prompt is empty", param_hint="--prompt")
    picture = opened(image)
    if out is not None:
        check_target(out)
    if embedded:
        check_words(prompt)
        if picture.size != (SIZE, SIZE):
            note(
                "note", f"the embedded model knows drawn scenes of {SIZE} x {SIZE} pixels only, as in 'tokenprune demo'"
            )
    return picture


def configured(pipeline: str, budget: str | None, positions: Positions | None) -> Pipeline:
    """The pipeline that the options ask for; a budget is read as in a YAML file."""
    import tokenprune

    changes: dict[str, Any] = {} if positions is None else {"positions": positions.value}
    if budget is not None:
        changes["budget"] = budget_of(budget)
    return tokenprune.load(pipeline, **changes)


def budget_of(text: str) -> Budget:
    """The budget that an option writes: an int, a float, or a text as in a YAML file.

    Raises:
        BudgetError: it has no meaning.
    """
    from tokenprune.budget import Budget

    return Budget.parse(_number(text))


def _number(text: str) -> int | float | str:
    """The int or the float that a text writes, else the text."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _asked(
    source: str | None,
    device: str | None,
    dtype: Dtype | None,
    pipeline: Pipeline,
    picture: Image,
    prompt: str,
    new_tokens: int | None,
) -> tuple[Both, Any]:
    """Both answers, and the model's processor."""
    from tokenprune.cli.asking import ask_both
    from tokenprune.cli.models import loaded, quiet_transformers
    from tokenprune.scenes import folder

    with stderr().status("loading the model"), quiet_transformers(bars=source is not None and sys.stderr.isatty()):
        if source is None:
            model, processor = loaded(str(folder()), device or "cpu", (dtype or Dtype.float32).value)
        else:
            model, processor = loaded(source, device, (dtype or Dtype.auto).value)
    with stderr().status("asking"):
        return ask_both(model, processor, pipeline, picture, prompt, new_tokens), processor


def _print(both: Both) -> None:
    """The two answers side by side, then the receipt."""
    from rich.table import Table
    from rich.text import Text

    full, pruned, receipt = both.full, both.pruned, both.receipt
    kept = f"{receipt.after} ({share(receipt.after, receipt.before)})"
    cost = f"{short(pruned.flops)} ({share(pruned.flops, full.flops)})"
    table = Table("", "all tokens", receipt.pipeline, box=None, header_style="bold", padding=(0, 3, 0, 0))
    table.add_row("answer", Text(full.text), Text(pruned.text))
    table.add_row("visual tokens", str(receipt.before), kept)
    table.add_row("prefill FLOPs", short(full.flops), cost)
    stdout().print(table)
    stdout().print(Text(f"\n{receipt}"), soft_wrap=True)


def _draw(processor: Any, picture: Image, prompt: str, receipt: Receipt, out: Path) -> None:
    from tokenprune.cli.asking import prepared
    from tokenprune.cli.pictures import LEAST, save
    from tokenprune.drawing import drawn
    from tokenprune.placement import placed

    one = receipt.images[0]
    placement = placed(lambda image: prepared(processor, image, prompt), picture.size, one.spots)
    save(drawn(picture, one, placement, receipt.pipeline, max(1, -(-LEAST // min(picture.size)))), out)
