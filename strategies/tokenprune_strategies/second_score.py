"""The diverse tokens are the best of the rest by another score (PruMerge+, ICCV 2025; VScan, arXiv 2505.22654)."""

from typing import final

from pydantic import Field
from torch import Tensor

from tokenprune.named import Named
from tokenprune.selection import Split
from tokenprune.strategy import Diversifier, Scorer
from tokenprune.tokens import VisualTokens, top
from tokenprune_strategies.uniform import Uniform


@final
class SecondScore(Diversifier):
    """Of the tokens that are not kept yet, those of highest score by ``of``. Cost: that of the score.

    Args:
        of: the score; evenly spread tokens unless something else is named.
    """

    of: Named[Scorer] = Field(default_factory=Uniform)

    @property
    def reads(self) -> frozenset[str]:
        """What the score reads."""
        return self.of.reads

    def choose(self, tokens: VisualTokens, scores: Tensor, kept: Tensor, split: Split) -> Tensor:
        """[B, N] bool, exactly ``split.diverse`` a row."""
        return top(self.of.score(tokens), split.diverse, ~kept if tokens.valid is None else tokens.valid & ~kept)
