"""``tokenprune eval``: pipelines and budgets compared on a task."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tokenprune.cli.evaluation import Run, write
from tokenprune.cli.models import few_threads
from tokenprune.cli.options import (
    AllPipelines,
    AsJson,
    ColumnNames,
    Debug,
    Device,
    DtypeName,
    Images,
    ModelName,
    NewTokens,
)
from tokenprune.cli.tasks import cells_of, columns_of, tasks_of
from tokenprune.cli.terminal import CommandError, print_json, reported, stdout

if TYPE_CHECKING:
    from rich.table import Table

    from tokenprune.measure.cells import Cell
    from tokenprune.measure.results import Result
    from tokenprune.measure.tables import Grid
    from tokenprune.measure.task import Task

Budgets = Annotated[str, typer.Option("--budgets", metavar="LIST", help="Tokens kept of an image: 64,11.1%,...")]
TaskName = Annotated[
    str,
    typer.Option(
        "--task", metavar="NAME|FILE", help="scenes, sparse, crowded; a JSONL, JSON, CSV or parquet file; a folder."
    ),
]
Policies = Annotated[
    str | None, typer.Option("--positions", metavar="LIST", help="keep, renumber, or both with a comma.")
]
Questions = Annotated[
    int | None, typer.Option("--questions", min=1, help="How many.", show_default="scenes: 200 a set; a file: all")
]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Where answers and tables go; run again to resume.")]
MetricName = Annotated[
    str, typer.Option("--metric", help="exact, vqa, yes_no, f1, mme, letter, anls, relaxed or none; see the pages.")
]
Template = Annotated[
    str, typer.Option("--prompt", metavar="TEXT", help="What is made of a question; {question} stands for it.")
]
Seeds = Annotated[int, typer.Option(min=1, help="How many, of pipelines that draw at random.")]
Batch = Annotated[int, typer.Option(min=1, help="Questions asked at once.")]
Share = Annotated[
    bool, typer.Option("--share-images", help="Read an image once for all questions about it in a batch: faster.")
]
Plot = Annotated[bool, typer.Option("--plot", help="Draw plot.svg too; needs the extra 'plots'.")]


def evaluating(
    task: TaskName = "scenes",
    pipelines: AllPipelines = "vispruner,fastervlm,divprune,random,uniform,pool,none",
    budgets: Budgets = "50%,25%,11.1%,5.6%,2.8%",
    positions: Policies = None,
    seeds: Seeds = 3,
    questions: Questions = None,
    metric: MetricName = "exact",
    columns: ColumnNames = "",
    images: Images = None,
    prompt: Template = "{question}",
    model: ModelName = None,
    max_new_tokens: NewTokens = None,
    device: Device = None,
    dtype: DtypeName = None,
    batch: Batch = 32,
    share_images: Share = False,
    out: Out = Path("eval"),
    plot: Plot = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Compare pipelines and budgets by the answers they leave right, on drawn scenes or on rows of your own."""
    with reported(debug), few_threads(model):
        _check(prompt, out, plot)
        tasks = tasks_of(task, metric, columns_of(columns, images), questions)
        cells = cells_of(pipelines, budgets, positions, seeds)
        _report(
            Run(model, device, dtype, max_new_tokens, prompt, batch, out, share_images), tasks, cells, plot, as_json
        )


def _report(run: Run, tasks: Sequence[Task], cells: Sequence[Cell], plot: bool, as_json: bool) -> None:
    """Ask, write the files, and print."""
    found = [line for one in tasks for line in run.asked(one, cells)]
    write(found, run, tasks, plot)
    _print(found, run.out, as_json)


def _check(prompt: str, out: Path, plot: bool) -> None:
    """Everything that costs nothing, before anything is asked."""
    from tokenprune.measure.plot import check_plots

    if "{question}" not in prompt:
        raise typer.BadParameter("it holds no {question}", param_hint="--prompt")
    if plot:
        check_plots()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise CommandError(f"cannot make the folder {str(out)!r}: {problem}") from problem


def _print(found: Sequence[Result], out: Path, as_json: bool) -> None:
    from tokenprune.measure.tables import grids, plain

    if as_json:
        print_json([plain(one) for one in found])
        return
    screen = stdout()
    for grid in grids(found):
        screen.print(grid.title, style="bold", markup=False)
        screen.print(_table(grid), "")
        for number, reason in enumerate(grid.notes, 1):
            screen.print(f"[{number}] {reason}", markup=False, soft_wrap=True)
    screen.print(f"answers and tables: {out}", markup=False, soft_wrap=True)


def _table(grid: Grid) -> Table:
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE, show_edge=False, pad_edge=False, header_style="bold")
    for number, head in enumerate(("pipeline", *grid.heads)):
        table.add_column(head, justify="right" if number else "left", no_wrap=bool(number), overflow="fold")
    for line in grid.lines:
        table.add_row(*map(Text, line))
    return table
