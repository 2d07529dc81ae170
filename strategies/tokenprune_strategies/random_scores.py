"""Random scores: the control every method has to beat."""

from typing import final

import torch
from torch import Tensor

from tokenprune.strategy import Scorer
from tokenprune.tokens import VisualTokens

_MASK = 0xFFFFFFFF


@final
class RandomScores(Scorer):
    """A hash of (seed, number of the row in its image, token): the same on every device and in every batch.

    One seed draws one pattern, the same for every image; average over several seeds.

    Args:
        seed: which pattern.
    """

    seed: int = 0

    def score(self, tokens: VisualTokens) -> Tensor:
        """[B, N] float32 in [0, 1)."""
        group = tokens.group
        nth = (group[:, None] == group[None, :]).tril(-1).sum(-1)  # [B] rows of the same image before this one
        row = _mix(nth + _mix(torch.tensor(self.seed & _MASK)))  # [B]
        token = torch.arange(tokens.shape[1], device=tokens.device)
        word = _mix(_mix(token)[None, :] ^ row.to(tokens.device, non_blocking=True)[:, None])  # [B, N]
        return (word >> 8).float() / 2**24


def _mix(x: Tensor) -> Tensor:
    """A 32-bit finaliser (xor-shift and odd multipliers below 2^31), so that no product overflows int64."""
    x = (x + 0x1E3779B9) & _MASK
    x = ((x ^ (x >> 16)) * 0x21F0AAAD) & _MASK
    x = ((x ^ (x >> 15)) * 0x735A2D97) & _MASK
    return x ^ (x >> 15)
