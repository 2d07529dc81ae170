"""Importance = how unlike the rest a token is (VidCom2, arXiv 2505.14454; SAINT, arXiv 2503.11549)."""

from typing import Literal, final

import torch
from torch import Tensor

from tokenprune.strategy import Scorer
from tokenprune.tokens import VisualTokens
from tokenprune_strategies.scaling import mean_of, valid_of

_WIDTHS = (0.125, 0.25, 0.5, 1.0, 2.0)  # VidCom2's alphas


@final
class FeatureUniqueness(Scorer):
    """How far a token lies from the mean of its row; all vectors have norm one.

    ``gaussian``: score_n = -sum over a of exp(-|x_n - mean|^2 / 2a), a = 1/8, 1/4, ..., 2 (VidCom2, which measures on
    the calmer half of the channels; here all count). ``similarity``: score_n = minus the mean of cos(x_n, x_m) over
    all m, SAINT's summed similarity without its rounds. Cost: O(N C).

    Args:
        measure: ``gaussian`` or ``similarity``.
        within: ``row``: the mean is that of the token's crop or frame; ``image``: of its whole image or video.
    """

    measure: Literal["gaussian", "similarity"] = "gaussian"
    within: Literal["row", "image"] = "row"

    def score(self, tokens: VisualTokens) -> Tensor:
        """[B, N] float32."""
        unit, valid = tokens.unit, valid_of(tokens)
        mean = mean_of(unit, valid) if self.within == "row" else self._of_images(tokens)  # [B, 1, C]
        if self.measure == "similarity":
            return -(unit @ mean.mT)[..., 0]
        far = (unit - mean).square().sum(-1)  # [B, N]
        return -torch.stack([(-far / (2 * width)).exp() for width in _WIDTHS]).sum(0)

    def _of_images(self, tokens: VisualTokens) -> Tensor:
        """[B, 1, C] the mean of all valid tokens of each row's image."""
        same = (tokens.group[:, None] == tokens.group).float().to(tokens.device, non_blocking=True)  # [B, B]
        valid = valid_of(tokens)
        total = tokens.unit.masked_fill(~valid[..., None], 0).sum(1)  # [B, C]
        count = same @ valid.sum(1, keepdim=True).float()  # [B, 1]
        return (same @ total / count.clamp(min=1))[:, None]
