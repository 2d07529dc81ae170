"""Results as text: CSV with every figure, JSON with everything, Markdown and LaTeX with one table for each task."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from tokenprune.measure.results import Result

COLUMNS = (
    *("task", "metric", "pipeline", "budget", "positions", "seeds", "questions", "share"),
    *("score", "low", "high", "difference", "difference_low", "difference_high"),
    *("relative", "relative_low", "relative_high", "lost", "gained", "p"),
    *("agreement", "kl", "top1", "unparsed", "reason"),
)


def plain(result: Result) -> dict[str, Any]:
    """A line as plain values, for JSON; what there is not is left out."""
    return {name: value for name, value in asdict(result).items() if value not in (None, "", {}, ())}


def flat(result: Result) -> dict[str, Any]:
    """A line as the columns of a CSV file; empty where there is no figure."""
    found = {name: value for name, value in vars(result).items() if name in COLUMNS and name != "score"}
    if result.score is not None:
        score = result.score
        for name, part in (("", score.value), ("difference", score.difference), ("relative", score.relative)):
            if part is not None:
                found |= {name or "score": part.value}
                found |= {f"{name}_{end}".lstrip("_"): getattr(part, end) for end in ("low", "high")}
    if result.mcnemar is not None:
        found |= asdict(result.mcnemar)
    if result.reason:
        found["questions"] = ""
    return {name: _figure(found.get(name)) for name in COLUMNS}


def _figure(value: Any) -> Any:
    """Digits that mean something; a p value is given to three of them."""
    if not isinstance(value, float):
        return "" if value is None else value
    return f"{value:.4f}" if abs(value) >= 0.01 or not value else f"{value:.3g}"


def as_csv(results: Sequence[Result]) -> str:
    """Every line, every figure."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat(one) for one in results)
    return text.getvalue()


@dataclass(frozen=True)
class Grid:
    """One task and one policy: a line for each pipeline, a column for each budget.

    Args:
        title: task, metric and policy.
        heads: the budgets.
        lines: pipeline and its figures, as text.
        notes: reasons of empty cells, in the order of their numbers.
    """

    title: str
    heads: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


def grids(results: Sequence[Result]) -> Iterator[Grid]:
    """A grid for each task and policy; the unpruned model and pipelines with a budget of their own come first."""
    for task, group in groupby(results, key=lambda one: one.task):
        lines = list(group)
        alone = [one for one in lines if not one.positions]
        for policy in dict.fromkeys(one.positions for one in lines if one.positions):
            yield _grid(task, policy, [*alone, *(one for one in lines if one.positions == policy)])
        if alone == lines:
            yield _grid(task, "", lines)


def _grid(task: str, policy: str, lines: Sequence[Result]) -> Grid:
    notes: dict[str, int] = {}
    seeds = {one.pipeline: max(other.seeds for other in lines if other.pipeline == one.pipeline) for one in lines}
    by_name: dict[str, dict[str, str]] = {}
    for one in lines:
        label = one.pipeline + (f" ({seeds[one.pipeline]} seeds)" if seeds[one.pipeline] > 1 else "")
        by_name.setdefault(label, {})[one.budget] = _cell(one, notes)
    several = [set(cells) for cells in by_name.values() if len(cells) > 1]
    shared = set().union(*several) if several else {one.budget for one in lines if one.budget}
    heads = tuple(dict.fromkeys(one.budget for one in lines if one.budget in shared))
    table = []
    for label, cells in by_name.items():
        if set(cells) <= set(heads):
            table.append((label, *(cells.get(head, "") for head in heads)))
        else:  # one figure, at no budget that others have
            own = f", {next(iter(cells))}" if next(iter(cells)) else ""
            table.append((f"{label}{own}", *cells.values(), *[""] * (len(heads) - 1)))
    policy = f", positions: {policy}" if policy else ""
    return Grid(f"{task}, {lines[0].metric}{policy}", heads or ("all",), tuple(table), tuple(notes))


def _cell(result: Result, notes: dict[str, int]) -> str:
    """A figure and half its interval; the number of a note where there is none."""
    if result.reason:
        return f"- [{notes.setdefault(result.reason, len(notes) + 1)}]"
    if result.score is None:
        return f"{result.agreement:.1f}" if result.agreement is not None else "100.0"
    value = result.score.value
    return f"{value.value:.1f} ±{(value.high - value.low) / 2:.1f}"


def as_markdown(results: Sequence[Result]) -> str:
    """A table for each task and policy."""
    return "\n\n".join(_markdown(one) for one in grids(results)) + "\n"


def _markdown(grid: Grid) -> str:
    lines = [("pipeline", *grid.heads), ("---", *["--:"] * len(grid.heads)), *grid.lines]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    notes = "".join(f"\n\n[{number}] {note}" for number, note in enumerate(grid.notes, 1))
    return f"**{grid.title}**\n\n{text}{notes}"


def as_latex(results: Sequence[Result]) -> str:
    """A ``tabular`` for each task and policy; it needs no package."""
    return "\n\n".join(_latex(one) for one in grids(results)) + "\n"


def _latex(grid: Grid) -> str:
    heads, *lines = [" & ".join(map(_tex, line)) + r" \\" for line in [("pipeline", *grid.heads), *grid.lines]]
    body = "\n".join([rf"\begin{{tabular}}{{l{'r' * len(grid.heads)}}}", r"\hline", heads, r"\hline", *lines])
    notes = "".join(f"\n% [{number}] {note}" for number, note in enumerate(grid.notes, 1))
    return f"% {grid.title}\n{body}\n\\hline\n\\end{{tabular}}{notes}"


def _tex(text: str) -> str:
    for mark in "%_&#$":
        text = text.replace(mark, f"\\{mark}")
    return text.replace("±", r"$\pm$ ")
