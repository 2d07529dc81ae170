"""The budget spread over the crops of an image by what its thumbnail sees there (GlobalCom2, arXiv 2501.05179)."""

from math import exp
from typing import final

from pydantic import Field
from torch import Tensor

from tokenprune.budget import Budget
from tokenprune.named import Named
from tokenprune.selection import Split
from tokenprune.strategy import BudgetSplitter, Scorer
from tokenprune.tokens import VisualTokens
from tokenprune_strategies.cls_attention import ClsAttention
from tokenprune_strategies.dividing import divided, parted
from tokenprune_strategies.overview import overview_of
from tokenprune_strategies.overview_sums import seen_in_rows
from tokenprune_strategies.scaling import clean, valid_of


@final
class ThumbnailGuided(BudgetSplitter):
    """Crop j weighs N_j * (1 + p_j - mean of p), p = softmax(g / temperature), g_j the thumbnail's scores in j.

    The thumbnail weighs its own count, as do rows of images without one. The total is exact, where the released code
    rounds each crop down; and a crop's part of the thumbnail is where the crop lies, where the released code takes
    equal tiles even of an image that is padded. Cost: that of the score; B numbers are read back from the device, once.

    Args:
        of: the thumbnail's scores.
        temperature: of the softmax over the crops of an image.
        important: share of a row's count that is chosen by score; see `Equal`.
    """

    of: Named[Scorer] = Field(default_factory=lambda: ClsAttention(of="logits"))
    temperature: float = Field(default=10.0, gt=0)
    important: float = Field(default=1.0, ge=0, le=1)

    @property
    def reads(self) -> frozenset[str]:
        """What the score reads."""
        return self.of.reads

    def split(self, tokens: VisualTokens, scores: Tensor, budget: Budget) -> Split:
        """[B] counts; exact in every unit."""
        return parted(divided(tokens, budget, self.weights(tokens)), self.important, 0)

    def weights(self, tokens: VisualTokens) -> list[float]:
        """What each row weighs: its share of the budget, as far as it goes."""
        of, weights = overview_of(tokens), [float(count) for count in tokens.counts.tolist()]
        if max(of, default=-1) < 0:
            return weights
        seen = seen_in_rows(clean(self.of.score(tokens), valid_of(tokens)), tokens, of).double().nan_to_num().tolist()
        for image in set(of) - {-1}:
            crops = [row for row, one in enumerate(of) if one == image]
            most = max(seen[row] for row in crops)
            p = [exp((seen[row] - most) / self.temperature) for row in crops]
            for row, one in zip(crops, p, strict=True):
                weights[row] *= 1 + one / sum(p) - 1 / len(p)
        return weights
