"""The highest scores, of this scorer or another."""

from typing import final

from torch import Tensor

from tokenprune.named import Named
from tokenprune.selection import Split
from tokenprune.strategy import Diversifier, Scorer
from tokenprune.tokens import VisualTokens, top


@final
class ByScore(Diversifier):
    """Chosen are the tokens of highest score. Cost: two sorts.

    Args:
        scorer: whose scores. None: the stage's.
    """

    scorer: Named[Scorer] | None = None

    @property
    def reads(self) -> frozenset[str]:
        """What the scorer reads."""
        return self.scorer.reads if self.scorer else frozenset()

    def choose(self, tokens: VisualTokens, scores: Tensor, kept: Tensor, split: Split) -> Tensor:
        """[B, N] bool, exactly ``split.diverse`` a row."""
        free = ~kept if tokens.valid is None else tokens.valid & ~kept
        return top(scores if self.scorer is None else self.scorer.score(tokens), split.diverse, free)
