"""``tokenprune demo``: the embedded model before and after, on a drawn scene."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import eq
from pathlib import Path
from typing import TYPE_CHECKING

from tokenprune.cli.figures import share
from tokenprune.cli.models import few_threads
from tokenprune.cli.options import AsJson, Debug, Index, Scenes, SceneSet, Set, Sheet
from tokenprune.cli.terminal import print_json, reported, stderr, stdout

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from tokenprune.cli.comparison import Report

ROOMY = 100  # columns of a terminal from which on there is room for wrong answers


def demo(
    out: Sheet = Path("demo.png"),
    index: Index = 0,
    kind: Set = SceneSet.sparse,
    scenes: Scenes = 0,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Ask the embedded model about a drawn scene, with all tokens and with few, and draw what was kept."""
    with reported(debug), few_threads(None):
        from tokenprune.cli.comparison import compared, drawn
        from tokenprune.cli.models import quiet_transformers
        from tokenprune.cli.pictures import check_target, save
        from tokenprune.scenes import draw

        check_target(out)
        with stderr().status("asking the embedded model"), quiet_transformers():
            report = compared(draw(index, kind.value), [draw(number, kind.value) for number in range(scenes)])
        save(drawn(report), out)
        if as_json:
            print_json({**report.to_dict(), "picture": str(out)})
        else:
            _print(report, scenes)
            stdout().print(f"picture: {out}", markup=False, soft_wrap=True)


def _print(report: Report, scenes: int) -> None:
    scene, screen = report.scene, stdout()
    screen.print(
        f"Scene {scene.index} of the {scene.kind} set, seed {scene.seed}; the model was trained on seed 1. One "
        "question of each kind that the scene can answer, drawn by its seed; none is left out.\n"
    )
    screen.print(_answers(report, scenes, screen), "")
    where = "" if screen.width >= ROOMY else f" From {ROOMY} columns on, this table shows what was said instead."
    screen.print(f"random is one fixed pattern (seed 0), no average. One scene ranks no method.{where}\n")
    screen.print(_costs(report), "")
    screen.print(
        f"With {report.parameters / 1e6:.1f} million parameters this toy saves no time, and no speed-up is claimed. "
        "What it can show: which tokens a method keeps, which answers that costs, and how much work is left out.\n"
    )


def _answers(report: Report, scenes: int, screen: Console) -> Table:
    """A line for each question, a column for each way: a tick, or a cross and what was said if there is room."""
    from rich.text import Text

    def mark(said: str, wanted: str) -> Text:
        right, wrong = ("ok", "x") if screen.options.ascii_only else ("✓", "✗")
        instead = f"{wrong} {said or '(nothing)'}" if screen.width >= ROOMY else wrong
        return Text(right, "green") if said == wanted else Text(instead, "red")

    table = _table(["\nquestion", "\nright answer", *_heads(report)])
    for row, question in enumerate(report.questions):
        marks = [mark(column.said[row], question.answer) for column in report.columns]
        table.add_row(Text(question.text), Text(question.answer), *marks)
    table.add_section()
    wanted = [question.answer for question in report.questions]
    right = [sum(map(eq, column.said, wanted)) for column in report.columns]
    table.add_row("right", f"of {len(wanted)}", *map(str, right))
    if scenes:
        over = [f"{100 * column.right / report.asked:.0f} %" for column in report.columns]
        table.add_row(f"right, scenes 0 to {scenes - 1}", f"of {report.asked}", *over)
    return table


def _heads(report: Report) -> Iterator[str]:
    """Two lines for each way: the pipeline over its first budget, all its budgets below."""
    before = None
    for column in report.columns:
        way = column.way
        yield f"{'' if way.pipeline == before else way.pipeline}\n{way.budget}" if way.pipeline else "all\ntokens"
        before = way.pipeline


def _costs(report: Report) -> Table:
    """A line for each way: tokens, and FLOPs by part."""
    whole = report.columns[0]
    parts = [name.replace("_", " ") for name in report.parts(whole)]
    table = _table(["", "tokens", *parts, "of full"], figures=True)
    table.title = "Prefill, million FLOPs, counted as it ran (first question)"
    for column in report.columns:
        tokens = f"{report.tokens(column)}/{report.tokens(whole)}"
        counts = [f"{count / 1e6:,.1f}" for count in report.parts(column).values()]
        table.add_row(str(column.way), tokens, *counts, share(column.flops, whole.flops))
    return table


def _table(heads: Sequence[str], figures: bool = False) -> Table:
    """A plain table; words are never cut, and ``figures`` after the first column stand below each other."""
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(box=SIMPLE, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    table.title_style, table.title_justify = "bold", "left"
    for number, head in enumerate(heads):
        table.add_column(head, justify="right" if figures and number else "left", overflow="fold")
        table.columns[-1].max_width = None if figures or number < 2 else 10
    return table
