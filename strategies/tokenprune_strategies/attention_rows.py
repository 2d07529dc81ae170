"""What scorers of attention rows share: rows of one shape, and means over queries and heads."""

from __future__ import annotations

from torch import Tensor

from tokenprune.tokens import VisualTokens


def rows_of(tokens: VisualTokens, name: str) -> Tensor:
    """[B, H, R, N] float32 of the cue called ``name``; the last token is one query, and a prior is of one head."""
    rows = tokens.cue(name).float()
    rows = rows[..., None, :] if name.startswith("last_") else rows
    return rows if rows.ndim == 4 else rows[:, None]


def mean_over(asks: Tensor, rows: Tensor) -> Tensor:
    """[B, H, N] mean over the queries that ``asks`` [B, R] of [B, H, R, N]; zero where none does."""
    count = asks.sum(1)[:, None, None]  # [B, 1, 1]
    return (rows * asks[:, None, :, None]).sum(2) / count.clamp(min=1)


def over_heads(rows: Tensor, weight: Tensor, largest: bool, best: int | None) -> Tensor:
    """[B, N] mean of [B, H, N], or its maximum if ``largest``, over the ``best`` heads by ``weight`` [B, H]; None: all.

    Ties go to the lower head.
    """
    if best is not None:
        order = weight.argsort(dim=1, descending=True, stable=True)[:, :best]
        rows = rows.gather(1, order[..., None].expand(-1, -1, rows.shape[2]))
    return rows.amax(1) if largest else rows.mean(1)
