"""``tokenprune flops``: what pipelines leave of a model's work, counted from its config alone."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokenprune.cli.figures import share, short
from tokenprune.cli.inspecting import image_size
from tokenprune.cli.options import AllPipelines, AsJson, Budgets, Debug, Dtype, ImageSize, ModelSize, TextTokens
from tokenprune.cli.tasks import cells_of
from tokenprune.cli.terminal import CommandError, note, print_json, reported, stderr, stdout
from tokenprune.errors import TokenpruneError

if TYPE_CHECKING:
    from tokenprune.measure.cells import Cell
    from tokenprune.measure.costs import Cost, Subject

MIB = 2**20


class Counting(StrEnum):
    """Ways of counting."""

    measured = "measured"
    fastv = "fastv"
    pyramiddrop = "pyramiddrop"
    vispruner = "vispruner"


def flops(
    model: ModelSize,
    pipelines: AllPipelines = "vispruner",
    budgets: Budgets = None,
    image: ImageSize = None,
    text: TextTokens = 59,
    convention: Annotated[Counting, typer.Option("--convention", help="How to count.")] = Counting.measured,
    dtype: Annotated[Dtype, typer.Option("--dtype", help="Number format of the cache.")] = Dtype.auto,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Count FLOPs and cache of a model by pipeline and budget, without its weights."""
    with reported(debug):
        from tokenprune.cli.models import quiet_transformers

        size = None if image is None else image_size(image)
        cells = cells_of(pipelines, budgets)[1:]
        with stderr().status("counting"), quiet_transformers():
            report = counted(model, cells, size, text, convention.value, dtype.value)
        _check(report)
        print_json(report) if as_json else _print(report)
        if report["note"]:
            note("note", report["note"])


def counted(
    model: str,
    cells: Sequence[Cell],
    size: tuple[int, int] | None = None,
    text: int = 59,
    convention: str = "measured",
    dtype: str = "auto",
) -> dict[str, Any]:
    """Everything the command prints, as plain values.

    Args:
        model: see `described`.
        cells: pipelines with their budgets, as `grid` makes them; for one that cannot be counted a line says why.
        size: (height, width) of the image in pixels. None: one that suits the model.
        text: tokens of text in the prompt.
        convention: a name in `CONVENTIONS`.
        dtype: of the cache; ``auto``: as the config says, else bfloat16.
    """
    from tokenprune.measure.conventions import CONVENTIONS
    from tokenprune.measure.costs import Subject
    from tokenprune.measure.sizes import described

    subject = Subject(described(model), size, text)
    kind, width = _dtype(subject, dtype)
    lines = [_line(subject, subject.full(), convention, width)]
    lines += [_cell(subject, cell, convention, width) for cell in cells]
    return {
        "model": model,
        "class": type(subject.model).__name__,
        "image": list(subject.image[::-1]),
        "text": text,
        "layers": subject.language.depth,
        "dtype": kind,
        "convention": convention,
        "scope": CONVENTIONS[convention].scope,
        "note": subject.note,
        "lines": lines,
    }


def _dtype(subject: Subject, asked: str) -> tuple[str, int]:
    """Name and bytes of the cache's numbers."""
    import torch

    said = getattr(subject.described.config, "dtype", None) if asked == "auto" else asked
    name = str(said or "bfloat16").removeprefix("torch.")
    return name, int(getattr(torch, name).itemsize)


def _cell(subject: Subject, cell: Cell, convention: str, width: int) -> dict[str, Any]:
    """A line of figures, or of the reason why there are none."""
    if cell.made is None:
        return {"pipeline": cell.pipeline, "budget": cell.budget, "reason": cell.reason}
    try:
        return _line(subject, subject.pruned(cell.made), convention, width)
    except TokenpruneError as problem:
        budget = str(cell.made.budget or "as written")
        return {"pipeline": cell.pipeline, "budget": budget, "reason": " ".join(str(problem).split())}


def _check(report: dict[str, Any]) -> None:
    """See whether there is any figure besides those of the unpruned model.

    Raises:
        CommandError: there is none; it says all reasons.
    """
    if all("reason" in line for line in report["lines"][1:]):
        raise CommandError("; ".join(dict.fromkeys(line["reason"] for line in report["lines"][1:])))


def _line(subject: Subject, cost: Cost, convention: str, width: int) -> dict[str, Any]:
    """One pipeline at one budget."""
    from tokenprune.measure.conventions import CONVENTIONS
    from tokenprune.measure.costs import cached, counted

    return {
        "pipeline": cost.pipeline,
        "budget": cost.budget,
        "tokens": cost.average,
        "tokens_by_layer": list(cost.tokens),
        "slots_by_layer": list(cost.slots),
        "vision": cost.vision,
        "projector": cost.projector,
        "cue": cost.cue,
        "selection": cost.selection,
        "prefill": cost.prefill,
        "decode": cost.decode,
        "flops": counted(CONVENTIONS[convention], subject, cost),
        "kv_bytes": cached(CONVENTIONS[convention], subject, cost) * width,
    }


def _print(report: dict[str, Any]) -> None:
    """What was counted and how, then a line for each pipeline and budget."""
    from rich.table import Table
    from rich.text import Text

    width, height = report["image"]
    stdout().print(
        f"{report['model']} ({report['class']}), one image of {width} x {height}, {report['text']} tokens of text; "
        f"cache in {report['dtype']}\n{report['convention']}: {report['scope']}\n",
        markup=False,
    )
    parts = ("vision", "proj.", "pruner", "prefill") if report["convention"] == "measured" else ()
    decode = ("decode",) if parts else ()
    heads = ("tokens", *parts, "in all", "of full", *decode, "cache")
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column("FLOPs", min_width=13)
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    full, notes = report["lines"][0], dict[str, int]()
    for line in report["lines"]:
        empty = {"tokens": f"- [{notes.setdefault(line['reason'], len(notes) + 1)}]"} if "reason" in line else None
        cells = empty or _cells(line, full)
        name = f"{line['pipeline']} {line['budget']}" if line["pipeline"] else "all tokens"
        table.add_row(Text(name, "cyan"), *(cells.get(head, "") for head in heads))
    stdout().print(table)
    for reason, number in notes.items():
        stdout().print(f"\n[{number}] {reason}", markup=False, soft_wrap=True)


def _cells(line: dict[str, Any], full: dict[str, Any]) -> dict[str, str]:
    """A line as people read it."""
    pruner, cache = line["cue"] + line["selection"], line["kv_bytes"] / MIB
    return {
        "tokens": f"{line['tokens']:.10g}" if line["tokens"] == int(line["tokens"]) else f"{line['tokens']:.1f}",
        "vision": short(line["vision"]),
        "proj.": short(line["projector"]),
        "pruner": short(pruner) if pruner else "0",
        "prefill": short(line["prefill"]),
        "in all": short(line["flops"]),
        "of full": share(line["flops"], full["flops"]),
        "decode": short(line["decode"]),
        "cache": f"{cache:.{0 if cache >= 100 else 1}f} MiB",
    }
