"""A stage: one choice, made by a scorer, a splitter and a diversifier."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict
from torch import Tensor

from tokenprune.budget import Budget
from tokenprune.marked import filled
from tokenprune.named import Named
from tokenprune.pool import Pool
from tokenprune.strategy import BudgetSplitter, Diversifier, Scorer, Strategy
from tokenprune.tokens import Selection, Split, VisualTokens, top

Space = Literal["encoder", "projected"]


class Stage(BaseModel):
    """One choice: score, keep the important ones, fill up with diverse ones.

    Args:
        scorer: importance of each token. None: all alike.
        splitter: how the budget is divided over rows and between important and diverse.
        diversifier: who chooses the diverse ones. None: the whole budget is important.
        space: where similarity is measured: the vision encoder's output, or the projector's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    scorer: Named[Scorer] | None = None
    splitter: Named[BudgetSplitter]
    diversifier: Named[Diversifier] | None = None
    space: Space = "encoder"
    site: Literal["pre_llm"] = "pre_llm"

    @property
    def parts(self) -> tuple[Strategy, ...]:
        """Scorer, splitter and diversifier, those that there are."""
        return tuple(part for part in (self.scorer, self.splitter, self.diversifier) if part is not None)

    @property
    def reads(self) -> frozenset[str]:
        """Cues the parts need."""
        return frozenset[str]().union(*(part.reads for part in self.parts))

    def select(self, tokens: VisualTokens, budget: Budget) -> Selection:
        """Choose the tokens that stay; exact in every unit of the budget."""
        units = [rows for rows, _ in budget.units(tokens)]
        if self.splitter.pools and any(len(rows) > 1 for rows in units):
            pool = Pool.of(tokens, units)
            selection = pool.spread(self._select(pool.tokens(tokens, units), budget))
        else:
            selection = self._select(tokens, budget)
        return filled(tokens, selection, units, self._scores)

    def _scores(self, tokens: VisualTokens) -> Tensor:
        """[B, N] float32; without a scorer all alike."""
        if self.scorer is not None:
            return self.scorer.score(tokens).float()
        return tokens.features.new_zeros(tokens.shape).float()

    def _select(self, tokens: VisualTokens, budget: Budget) -> Selection:
        scores = self._scores(tokens)
        split = self.splitter.split(tokens, scores, budget)
        if self.diversifier is None or not split.diverse.any():
            split = Split(split.total, split.diverse * 0)
        important = top(scores, split.important, tokens.valid)  # [B, N]
        if self.diversifier is None or not split.diverse.any():
            return Selection(important, important & False)
        return Selection(important, self.diversifier.choose(tokens, scores, important, split))
