"""``tokenprune compare``: the same questions answered by several pipelines under several budgets, with pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokenprune.cli.models import few_threads
from tokenprune.cli.options import (
    AsJson,
    ColumnNames,
    Debug,
    Device,
    DtypeName,
    Images,
    ModelName,
    NewTokens,
    Pipelines,
    PositionIds,
)
from tokenprune.cli.questions import all_asked
from tokenprune.cli.tasks import columns_of
from tokenprune.cli.terminal import print_json, reported, stderr, stdout
from tokenprune.cli.viewing import Amounts

if TYPE_CHECKING:
    from rich.table import Table

    from tokenprune.cli.looking import Looked
    from tokenprune.cli.questions import Asked

Source = Annotated[
    str,
    typer.Argument(
        help="A picture; a drawn scene such as sparse:0, or several, sparse:0-4; or a task as in tokenprune eval: a "
        "JSONL, JSON, CSV or parquet file, a folder, sparse, crowded.",
        metavar="IMAGE|SET:NUMBERS|TASK",
    ),
]
Questions = Annotated[
    list[str] | None,
    typer.Option(
        "--prompt",
        metavar="TEXT",
        help="A question, may be repeated; of a task, what is made of its questions: {question} stands for one.",
        show_default="those of the task",
    ),
]
PageOut = Annotated[Path, typer.Option("--out", metavar="FILE", help="Where the page goes.")]
Most = Annotated[int, typer.Option("--questions", min=1, help="How many of a task are asked.")]


def compare(
    source: Source,
    prompt: Questions = None,
    pipelines: Pipelines = "vispruner,divprune,random",
    budgets: Amounts = "128,64,32",
    model: ModelName = None,
    positions: PositionIds = None,
    max_new_tokens: NewTokens = None,
    questions: Most = 20,
    columns: ColumnNames = "",
    images: Images = None,
    device: Device = None,
    dtype: DtypeName = None,
    out: PageOut = Path("compare.html"),
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Answer the same questions with several pipelines and budgets, side by side, with the tokens that they keep."""
    with reported(debug), few_threads(model):
        from tokenprune.cli import looking
        from tokenprune.cli.pages import check_page, named, write_page

        check_page(out)
        lines = looking.pipelines_of(pipelines, budgets, positions)
        asked = all_asked(source, prompt or [], questions, columns_of(columns, images))
        if model is None:
            looking.check_embedded(asked[0].image, [one.question for one in asked])
        found = _answered(looking.model_of(model, device, dtype), asked, lines, max_new_tokens)
        facts = {"model": named(model), "asked": f"{len(found)} question{'s' * (len(found) != 1)}"}
        write_page(out, f"Answers about {Path(source).name}", facts, looking.listed(budgets, "--budgets"), found)
        _print(found, source, model or "embedded", out, as_json)


def _answered(model: tuple[Any, Any], asked: Sequence[Asked], lines: Any, new_tokens: int | None) -> list[Looked]:
    """Every question, with a bar on the terminal."""
    from rich.progress import track

    from tokenprune.cli.looking import looked

    found: list[Looked] = []
    for one in track(asked, "asking", console=stderr(), transient=True):
        found.append(looked(*model, one, lines, new_tokens, say=True, before=found[-1] if found else None))
    return found


def _print(found: Sequence[Looked], source: str, model: str, out: Path, as_json: bool) -> None:
    if as_json:
        print_json({"source": source, "model": model, "page": str(out), "questions": [_plain(one) for one in found]})
        return
    stdout().print(_table(found), "")
    stdout().print(_agreement(found))
    stdout().print(f"page: {out}", markup=False, soft_wrap=True)


def _plain(found: Looked) -> dict[str, Any]:
    from tokenprune.cli.looking import every

    ways = [
        {
            "pipeline": kept.pipeline.name,
            "budget": str(kept.pipeline.budget),
            "tokens": kept.receipt.average if kept.receipt.layers else kept.receipt.after,
            "of": kept.receipt.before,
            "answer": kept.said,
            "agrees": kept.said == found.full,
            "kept": kept.run.image.kept.tolist(),
        }
        for kept in every(found.kept)
    ]
    asked = found.asked
    return {
        "heading": asked.heading,
        "question": asked.question,
        "expected": asked.expected,
        "full": found.full,
        "placement": found.placement.note or "exact",
        "ways": ways,
    }


def _table(found: Sequence[Looked]) -> Table:
    """A line for each question and budget: the answers of every pipeline, green where all tokens say the same."""
    from rich.table import Table
    from rich.text import Text

    names = [line[0].pipeline.name for line in found[0].kept]
    table = Table("question", "all tokens", "budget", *names, box=None, header_style="bold", padding=(0, 2, 0, 0))
    right, wrong = ("ok", "x") if stdout().options.ascii_only else ("✓", "✗")
    for one in found:
        for at, kept in enumerate(one.kept[0]):
            said = [
                Text(f"{right} {line[at].said}", "green")
                if line[at].said == one.full
                else Text(f"{wrong} {line[at].said or '(nothing)'}", "red")
                for line in one.kept
            ]
            heads = ("", "") if at else (f"{one.asked.heading}: {one.asked.question}", one.full or "(nothing)")
            table.add_row(*map(Text, heads), Text(str(kept.pipeline.budget)), *said)
    return table


def _agreement(found: Sequence[Looked]) -> Table:
    """How often each pipeline says what all tokens say, and what is right where that is known."""
    from rich.table import Table
    from rich.text import Text

    known = [one for one in found if one.asked.answers]
    heads = ("pipeline", "budget", "as with all", *(("right",) if known else ()))
    table = Table(*heads, box=None, header_style="bold", padding=(0, 2, 0, 0))
    if known:
        right = sum(one.asked.right(one.full) for one in known)
        table.add_row("all tokens", "", f"{len(found)} of {len(found)}", f"{right} of {len(known)}")
    for row, line in enumerate(found[0].kept):
        for at, kept in enumerate(line):
            same = sum(one.kept[row][at].said == one.full for one in found)
            right = sum(one.asked.right(one.kept[row][at].said) for one in known)
            cells = [f"{same} of {len(found)}", *([f"{right} of {len(known)}"] if known else [])]
            table.add_row(Text(kept.pipeline.name, "cyan"), str(kept.pipeline.budget), *cells)
    return table
