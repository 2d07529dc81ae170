"""Cells of a table: a pipeline with a budget, a policy for position ids and a seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tokenprune.errors import BudgetError, PipelineError, PluginError
from tokenprune.named import BudgetField
from tokenprune.pipeline import Pipeline, load

FULL = "full"  # the cell of the unpruned model


@dataclass(frozen=True)
class Cell:
    """One way to ask all questions.

    Args:
        pipeline: its name; None for the unpruned model.
        budget: as it was asked for.
        positions: the policy that was asked for; None: the pipeline's or the family's own.
        seed: of a pipeline that draws at random; 0 for all others.
        made: what is attached. None: nothing, for the unpruned model or where there is a reason.
        reason: why there is nothing to attach.
    """

    pipeline: str | None = None
    budget: str = ""
    positions: str | None = None
    seed: int = 0
    made: Pipeline | None = None
    reason: str = ""

    @property
    def key(self) -> str:
        """What the cell is called where answers are kept."""
        if self.pipeline is None:
            return FULL
        return f"{self.pipeline}|{self.budget}|{self.positions or 'default'}|{self.seed}"

    @property
    def recipe(self) -> str:
        """What is attached, as YAML; empty for the unpruned model. Answers under another recipe are another cell's."""
        if self.made is None:
            return ""
        try:
            return self.made.to_yaml()
        except PluginError:  # a part that is registered nowhere has no name to be written under
            return repr(self.made)


def grid(
    pipelines: Sequence[str],
    budgets: Sequence[BudgetField | None],
    positions: Sequence[str | None] = (None,),
    seeds: int = 1,
) -> list[Cell]:
    """The unpruned model first, and then each pipeline with each budget and policy.

    A pipeline that keeps nothing where it drops, as ``none``, is asked with its own budget alone; one that draws at
    random is asked with each seed. A cell that cannot be made says why. A budget of None is each pipeline's own.

    Raises:
        TokenpruneError: a pipeline does not load, whatever its budget.
        PipelineError: two of them have one name.
    """
    loaded = [load(name) for name in pipelines]
    names = [one.name for one in loaded]
    if twice := {name for name in names if names.count(name) > 1}:
        raise PipelineError(f"several pipelines are called {', '.join(sorted(twice))}; a table needs a name for each")
    found = [Cell()]
    for one in loaded:
        own = all(_nothing(wish) for wish in ([one.budget] if one.budget else [stage.budget for stage in one.stages]))
        for policy in positions:
            for budget in [one.budget] if own else budgets:
                found += _seeded(one, budget, policy, seeds)
    return found


def _nothing(budget: BudgetField | None) -> bool:
    return budget is not None and budget.share and not budget.amount


def _seeded(pipeline: Pipeline, budget: BudgetField | None, policy: str | None, seeds: int) -> Iterator[Cell]:
    changes = {"budget": budget, "positions": policy}
    name, text = pipeline.name, "own" if budget is None else str(budget)
    try:
        made = pipeline.replace(**{key: value for key, value in changes.items() if value is not None})
    except (BudgetError, PipelineError) as problem:
        yield Cell(name, text, policy, reason=_short(problem))
        return
    for seed in range(seeds if draws(made) else 1):
        yield Cell(name, text, policy, seed, sown(made, seed))


def draws(pipeline: Pipeline) -> bool:
    """Whether a scorer of the pipeline draws at random, by a seed."""
    return any("seed" in type(stage.scorer).model_fields for stage in pipeline.stages if stage.scorer is not None)


def sown(pipeline: Pipeline, seed: int) -> Pipeline:
    """The pipeline with another seed; one that draws nothing, and seed 0, stay as they are."""
    if not seed or not draws(pipeline):
        return pipeline
    stages = tuple(
        stage.model_copy(update={"scorer": stage.scorer.model_copy(update={"seed": seed})})
        if stage.scorer is not None and "seed" in type(stage.scorer).model_fields
        else stage
        for stage in pipeline.stages
    )
    return pipeline.model_copy(update={"stages": stages})


def _short(problem: Exception) -> str:
    """One line."""
    return " ".join(str(problem).split())
