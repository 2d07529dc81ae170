"""How many tokens a row asks for, told from its scores or from its vectors."""

from __future__ import annotations

import torch
from torch import Tensor

from tokenprune.tokens import VisualTokens
from tokenprune_strategies.scaling import clean, valid_of

_SLACK = 1e-3  # so that rounding does not ask for one token more


def wishes(tokens: VisualTokens, scores: Tensor, by: str) -> Tensor:
    """[B] int64, by ``outliers``, ``entropy`` or ``rank``; see `Adaptive`. At most what the row has."""
    valid = valid_of(tokens)
    x = clean(scores, valid)
    if by == "outliers":
        low, high = quantile(x, valid, 0.25), quantile(x, valid, 0.75)
        return ((x > high + 1.5 * (high - low)) & valid).sum(1)
    if by == "entropy":
        return (perplexity(x.clamp(min=0)) - _SLACK).ceil().long().clamp(min=0)
    unit = tokens.unit.masked_fill(~valid[..., None], 0)
    squares = torch.linalg.eigvalsh(unit @ unit.mT)  # [B, N] ascending
    noise = squares[:, -1:] * (squares.shape[1] * torch.finfo(torch.float32).eps)
    return (perplexity(squares.masked_fill(squares <= noise, 0).sqrt()) - _SLACK).ceil().long().clamp(min=0)


def quantile(x: Tensor, valid: Tensor, share: float) -> Tensor:
    """[B, 1] of the valid entries of [B, N], between two of them linearly; zero where there are none."""
    ordered = x.masked_fill(~valid, torch.inf).sort(dim=1).values
    at = share * (valid.sum(1, keepdim=True) - 1).clamp(min=0)
    low, high = at.floor().long(), at.ceil().long()
    value = torch.lerp(ordered.gather(1, low), ordered.gather(1, high), at - low)
    return value.nan_to_num(0, 0, 0)


def perplexity(x: Tensor) -> Tensor:
    """[B] exp of the entropy of [B, N] as shares of their sum; zero where that is zero."""
    x = x / x.amax(1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    share = x / x.sum(1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    entropy = -torch.special.xlogy(share, share).sum(1)
    return torch.where(share.any(1), entropy.exp(), 0)
