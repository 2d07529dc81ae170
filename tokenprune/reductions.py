"""What is kept of an attention matrix that is never built: one row of it, or the mean of its columns."""

from __future__ import annotations

from collections.abc import Callable

import torch
from einops import rearrange
from torch import Tensor

Reduce = Callable[[Tensor, Tensor, Tensor | None, float], Tensor]


def cls_row(index: int = 0) -> Reduce:
    """The attention that the query at ``index`` (0, or -1 where the CLS token comes last) pays: [B, H, K] float32."""

    def row(query: Tensor, key: Tensor, mask: Tensor | None, scale: float) -> Tensor:
        start = index % query.shape[2]
        return _weights(query, key, mask, scale, start, start + 1)[:, :, 0]

    return row


def received(chunk: int = 64) -> Reduce:
    """The attention that each key receives, averaged over heads and queries: [B, K] float32.

    Padding asks for nothing: in self-attention, a query at a place that the mask hides from all does not count.

    Args:
        chunk: queries taken at a time, so that memory is O(chunk * K).
    """

    def mean(query: Tensor, key: Tensor, mask: Tensor | None, scale: float) -> Tensor:
        heads, count = query.shape[1:3]
        total = query.new_zeros(len(query), key.shape[2], dtype=torch.float32)  # [B, K]
        asks = _asks(query, key, mask)  # [B, 1, Q, 1]
        for start in range(0, count, chunk):
            stop = min(start + chunk, count)
            total += (_weights(query, key, mask, scale, start, stop) * asks[:, :, start:stop]).sum((1, 2))
        return total / (heads * asks.sum((1, 2)))

    return mean


def looks(query: Tensor, key: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """The attention that few queries, such as latents, pay to each key, averaged over heads: [B, Q, K] float32."""
    return _weights(query, key, mask, scale, 0, query.shape[2]).mean(1)


def _asks(query: Tensor, key: Tensor, mask: Tensor | None) -> Tensor:
    """[B, 1, Q, 1] float32, zero where a query of a self-attention stands at a place that the mask hides from all."""
    batch, _, count, _ = query.shape
    asks = query.new_ones(batch, 1, count, 1, dtype=torch.float32)
    if mask is None or count != key.shape[2]:
        return asks
    seen = mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2
    return asks * seen.any(1).any(1)[:, None, :, None]


def _weights(query: Tensor, key: Tensor, mask: Tensor | None, scale: float, start: int, stop: int) -> Tensor:
    """[B, H, stop - start, K] float32, attention of some queries."""
    groups = query.shape[1] // key.shape[1]
    some = rearrange(query[:, :, start:stop].float(), "b (k g) q d -> b k (g q) d", g=groups)
    logits = some @ key.float().transpose(-1, -2) * scale  # [B, Hkv, g * q, K]
    logits = rearrange(logits, "b k (g q) n -> b (k g) q n", g=groups)
    if mask is not None:
        mask = mask[..., start:stop, :] if mask.shape[-2] > 1 else mask
        logits += mask.float() if mask.dtype != torch.bool else (~mask).float() * torch.finfo(torch.float32).min
    return logits.softmax(-1)
