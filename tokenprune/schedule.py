"""How many tokens of an image each stage keeps, so that the average over the language model's layers is the budget."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from typing import Literal

from tokenprune.budget import Budget
from tokenprune.errors import BudgetError

Schedule = Literal["scaled", "geometric"]
_HALVINGS = 48


@dataclass(frozen=True)
class Plan:
    """The stages of a pipeline in a language model of known depth.

    A budget over several stages is the average over all layers. The budgets of the stages are its shape, and one
    factor is solved for it: the largest whose average is not above the budget.

    Args:
        layers: the layer before which each stage runs, ascending; 0: before the language model.
        depth: layers of the language model.
        stages: what each stage keeps, of the tokens that the image had at first. None: no wish.
        budget: the average over the layers. None: the stages keep exactly what they say.
        schedule: ``scaled``: a factor times the budget of each stage; ``geometric``: each stage keeps the same share of
            what the one before it left.
    """

    layers: tuple[int, ...]
    depth: int
    stages: tuple[Budget | None, ...]
    budget: Budget | None = None
    schedule: Schedule = "scaled"

    def check(self) -> None:
        """See whether the average of any image can be that share of it.

        Raises:
            BudgetError: it cannot.
        """
        least = Fraction(self.layers[0], self.depth)
        if self.budget is not None and self.budget.share and self.budget.amount < least:
            raise BudgetError(
                f"a budget of {self.budget} is an average over the {self.depth} layers of the language model, and a "
                f"pipeline whose first tokens leave before layer {self.layers[0]} never averages below "
                f"{_text(100 * least)} %; ask for at least that, let tokens leave earlier, or put a stage before the "
                "language model"
            )

    def counts(self, count: int) -> tuple[int, ...]:
        """Tokens that stay after each stage, of an image that had ``count``.

        Raises:
            BudgetError: the average cannot be that small; the message names the least.
        """
        return _counts(self, count)

    def average(self, count: int, kept: tuple[int, ...]) -> Fraction:
        """Tokens of an image averaged over the layers, when ``kept`` stay after each stage."""
        return Fraction(self._sum(count, kept), self.depth)

    def least(self, count: int) -> Fraction:
        """The smallest average that these stages can have."""
        return self.average(count, self._at(Fraction(0), count))

    def _sum(self, count: int, kept: tuple[int, ...]) -> int:
        """Tokens of an image, all layers together."""
        bounds = (*self.layers, self.depth)
        spans = [stop - start for start, stop in pairwise(bounds)]
        return self.layers[0] * count + sum(span * one for span, one in zip(spans, kept, strict=True))

    def _shape(self, count: int) -> tuple[Fraction, ...]:
        """The share of ``count`` that each stage wishes for."""
        return tuple(Fraction(1) if one is None else _share(one, count) for one in self.stages)

    def _at(self, factor: Fraction, count: int) -> tuple[int, ...]:
        """What stays after each stage under a factor: at least one token of a share; never more than before."""
        kept, most = [], count
        for nth, wish in enumerate(self._shape(count)):
            share = factor * wish if self.schedule == "scaled" else factor ** (nth + 1)
            most = min(most, max(math.floor(share * count + Fraction(1, 2)), int(share > 0)))
            kept.append(most)
        return tuple(kept)


def _share(budget: Budget, count: int) -> Fraction:
    if budget.share:
        return budget.amount
    return min(Fraction(1), budget.amount / count) if count else Fraction(1)


@lru_cache(maxsize=256)
def _counts(plan: Plan, count: int) -> tuple[int, ...]:
    if plan.budget is None:
        return plan._at(Fraction(1), count)
    wanted = plan.budget.amount * count if plan.budget.share else plan.budget.amount
    if wanted >= count:
        return (count,) * len(plan.layers)
    target = math.floor(wanted * plan.depth)
    if plan._sum(count, plan._at(Fraction(0), count)) > target:
        raise BudgetError(_unreachable(plan, count))
    low, high = Fraction(0), 1 / min((one for one in plan._shape(count) if one), default=Fraction(1))
    for factor in (high, Fraction(1)):  # the steps are halved towards a factor, and these two are exact
        if plan._sum(count, plan._at(factor, count)) <= target:
            low = max(low, factor)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        fits = plan._sum(count, plan._at(middle, count)) <= target
        low, high = (middle, high) if fits else (low, middle)
    return plan._at(low, count)


def _unreachable(plan: Plan, count: int) -> str:
    least = plan.least(count)
    return (
        f"a budget of {plan.budget} is an average over the {plan.depth} layers of the language model, and a pipeline "
        f"whose first tokens leave before layer {plan.layers[0]} never averages below {_text(least)} of {count} tokens "
        f"({_text(100 * least / count)} %); ask for at least that, let tokens leave earlier, or put a stage before "
        "the language model"
    )


def _text(number: Fraction) -> str:
    """One decimal, rounded up, so that asking for it is enough."""
    return f"{math.ceil(number * 10) / 10:g}"
