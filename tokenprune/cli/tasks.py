"""Tasks and cells of ``tokenprune eval``, from the texts of its options."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tokenprune.cli.lists import listed
from tokenprune.cli.running import budget_of
from tokenprune.cli.terminal import note

if TYPE_CHECKING:
    from tokenprune.measure.cells import Cell
    from tokenprune.measure.local import Columns
    from tokenprune.measure.task import Task

SCENES = {"scenes": ("sparse", "crowded"), "sparse": ("sparse",), "crowded": ("crowded",)}
SCENE_QUESTIONS = 200  # of each set, where nothing else is asked for


def columns_of(text: str, images: Path | None) -> Columns:
    """Which column holds what, from ``image=photo,answer=label``."""
    from tokenprune.measure.local import Columns

    roles = [name for name in Columns.__dataclass_fields__ if name != "images"]
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    for role, _, name in pairs:
        if role.strip() not in roles or not name.strip():
            raise typer.BadParameter(
                f"cannot read {role!r}; write ROLE=NAME, a role being {', '.join(roles)}", param_hint="--columns"
            )
    return Columns(images=images, **{role.strip(): name.strip() for role, _, name in pairs})


def tasks_of(source: str, metric: str, columns: Columns, questions: int | None) -> list[Task]:
    """Sets of scenes, or the rows of a file; rows that are skipped are told."""
    from tokenprune.measure.local import local
    from tokenprune.measure.metrics import metric as metric_of
    from tokenprune.measure.task import checked, scenes

    if source in SCENES:
        return [scenes(kind, questions or SCENE_QUESTIONS) for kind in SCENES[source]]
    try:
        judge = metric_of(metric)
    except LookupError as problem:
        raise typer.BadParameter(str(problem.args[0]), param_hint="--metric") from None
    found = local(Path(source), judge, columns, questions)
    tell(found.skipped, f"of {source} are skipped")
    return [checked(found)]


def cells_of(pipelines: str, budgets: str | None, positions: str | None = None, seeds: int = 1) -> list[Cell]:
    """The grid that the options ask for, the unpruned model first; without budgets each pipeline has its own."""
    from tokenprune.measure.cells import grid
    from tokenprune.registry import list_pipelines

    names = [name for one in listed(pipelines, "--pipelines") for name in (list_pipelines() if one == "all" else [one])]
    amounts = [None] if budgets is None else [budget_of(text) for text in listed(budgets, "--budgets")]
    policies: list[Any] = [*listed(positions, "--positions")] if positions else [None]
    if wrong := {*policies} - {None, "keep", "renumber"}:
        raise typer.BadParameter(f"no policy {wrong.pop()!r}; there are keep and renumber", param_hint="--positions")
    return grid(names, amounts, policies, seeds)


def tell(skipped: Mapping[str, str], what: str) -> None:
    """How many rows are left out, and why the first of them are."""
    if skipped:
        first = "; ".join(f"{key}: {why}" for key, why in list(skipped.items())[:3])
        note("note", f"{len(skipped)} rows {what} ({first}{'; ...' if len(skipped) > 3 else ''})")
