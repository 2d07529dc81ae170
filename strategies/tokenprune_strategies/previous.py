"""Importance = the score of the stage before (the stages of VFlowOpt inside the language model, ICCV 2025)."""

from typing import final

from torch import Tensor

from tokenprune.strategy import Scorer
from tokenprune.tokens import VisualTokens


@final
class Previous(Scorer):
    """score_n = what the stage before gave token n. Cost: nothing.

    A carrier has the score of the token whose slot it has taken. VFlowOpt: arXiv 2508.05211.
    """

    @property
    def reads(self) -> frozenset[str]:
        """The scores of the stage before."""
        return frozenset({"previous_scores"})

    def score(self, tokens: VisualTokens) -> Tensor:
        """[B, N] float32."""
        return tokens.cue("previous_scores").float()
