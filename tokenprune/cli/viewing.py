"""``tokenprune view``: which tokens pipelines keep of a picture, as a contact sheet and as a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokenprune.cli.figures import share
from tokenprune.cli.models import few_threads
from tokenprune.cli.options import AsJson, Debug, Device, DtypeName, ModelName, Pipelines, PositionIds
from tokenprune.cli.terminal import print_json, reported, stdout

if TYPE_CHECKING:
    from tokenprune.cli.looking import Looked

Source = Annotated[
    str, typer.Argument(help="A picture, or a drawn scene such as sparse:0.", metavar="IMAGE|SET:NUMBER")
]
Amounts = Annotated[
    str, typer.Option("--budgets", metavar="LIST", help="Tokens kept of the image, with commas: 128,64,11.1%.")
]
Question = Annotated[
    str | None,
    typer.Option("--prompt", metavar="TEXT", help="What is asked; some pipelines read it.", show_default="a short one"),
]
SheetOut = Annotated[Path, typer.Option("--out", metavar="FILE", help="Where the contact sheet goes.")]
PageOut = Annotated[
    Path | None, typer.Option("--page", metavar="FILE", help="Where the page goes.", show_default="beside the sheet")
]
Caption = Annotated[str, typer.Option("--note", metavar="TEXT", help="A line for sheet and page, such as a licence.")]
PLAIN = "What is in this image?"


def view(
    image: Source,
    pipelines: Pipelines = "vispruner,divprune,random",
    budgets: Amounts = "128,64,32",
    prompt: Question = None,
    model: ModelName = None,
    positions: PositionIds = None,
    device: Device = None,
    dtype: DtypeName = None,
    out: SheetOut = Path("view.png"),
    page: PageOut = None,
    remark: Caption = "",
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Draw which tokens of a picture pipelines keep under budgets: a contact sheet, and a page with a slider."""
    with reported(debug), few_threads(model):
        from tokenprune.cli import looking
        from tokenprune.cli.pages import check_page
        from tokenprune.cli.pictures import check_target

        page = out.with_suffix(".html") if page is None else page
        check_target(out)
        check_page(page)
        lines = looking.pipelines_of(pipelines, budgets, positions)
        asked = _asked(image, prompt, model is None)
        if model is None:
            looking.check_embedded(asked.image, [asked.question])
        found = looking.looked(*looking.model_of(model, device, dtype), asked, lines, None, say=False)
        _write(found, model, looking.listed(budgets, "--budgets"), remark, out, page)
        _print(found, {"image": image, "model": model or "embedded", "sheet": str(out), "page": str(page)}, as_json)


def _write(found: Looked, model: str | None, budgets: list[str], remark: str, out: Path, page: Path) -> None:
    """The sheet and the page."""
    from tokenprune.cli.pages import named, sheet_of, write_page
    from tokenprune.cli.pictures import save

    save(sheet_of(found, remark), out)
    facts = {"model": named(model), "asked": found.asked.question, "note": remark}
    write_page(page, f"What stays of {found.asked.heading}", facts, budgets, [found])


def _asked(image: str, prompt: str | None, embedded: bool) -> Any:
    from tokenprune.cli.models import EXAMPLES
    from tokenprune.cli.pictures import opened
    from tokenprune.cli.questions import Asked, scene_of

    if prompt is not None and not prompt.strip():
        raise typer.BadParameter("the prompt is empty", param_hint="--prompt")
    scene = scene_of(image)
    if scene is not None:
        return Asked(scene.heading, scene.image, prompt or scene.question)
    return Asked(Path(image).name, opened(Path(image)), prompt or (EXAMPLES[0] if embedded else PLAIN))


def _print(found: Looked, where: dict[str, str], as_json: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    from tokenprune.cli.looking import every

    if as_json:
        receipts = [one.receipt.to_dict() for one in every(found.kept)]
        note = found.placement.note
        print_json({**where, "prompt": found.asked.question, "placement": note or "exact", "receipts": receipts})
        return
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for head in ("pipeline", "budget", "tokens", "", "important", "diverse", "merged"):
        table.add_column(head, justify="left" if head in ("pipeline", "budget") else "right")
    for kept in every(found.kept):
        one = kept.run.image
        reasons = (len(which) for which in (one.important, one.diverse, one.merged))
        inside = bool(kept.receipt.layers)  # then as many as the layers see on average
        count = f"{kept.receipt.average:.1f}" if inside else str(one.after)
        part = share(round(kept.receipt.average) if inside else one.after, one.before)
        figures = [f"{count}/{one.before}", part, *map(str, reasons)]
        table.add_row(Text(kept.pipeline.name, "cyan"), Text(str(kept.pipeline.budget)), *figures)
    stdout().print(table)
    for name in ("sheet", "page"):
        stdout().print(f"{name}: {where[name]}", markup=False, soft_wrap=True)
    if found.placement.note:
        stdout().print(f"placement: {found.placement.note}", markup=False, soft_wrap=True)
