"""What is made of the queries and keys of one attention module: a row, a mean, or the keys themselves.

Each gives [B, S] or [B, X, S] float32 over the module's sequence of S, whatever kernel the model itself runs.
"""

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

    In self-attention the queries that count are those that may look at the key, or it at them: sequences laid end to
    end give what each gives alone, and padding, which is where nobody may look, does not count.

    Args:
        chunk: queries taken at a time, so that memory is O(chunk * K).
    """

    def mean(query: Tensor, key: Tensor, mask: Tensor | None, scale: float) -> Tensor:
        heads, count = query.shape[1:3]
        together = _together(query, key, mask)
        total = query.new_zeros(len(query), key.shape[2], dtype=torch.float32)  # [B, K]
        queries = torch.zeros_like(total)
        for start in range(0, count, chunk):
            stop = min(start + chunk, count)
            ours = together(start, stop)  # [B or 1, H or 1, q, K or 1]
            weights = _weights(query, key, mask, scale, start, stop)
            if mask is not None:
                weights *= ours.any(-1, keepdim=True)
            total += weights.sum((1, 2))
            queries += ours.float().mean(1).sum(1)
        return total / (heads * queries.clamp(min=1))

    return mean


def globally_received(times: float, chunk: int = 64) -> Reduce:
    """The attention that each key receives from global queries, averaged over these and over heads: [B, K] float32.

    Global is a query that receives more than ``times`` the mean of those it shares a sequence with (VFlowOpt, arXiv
    2508.05211). Where none is, all count, as in `received`. For self-attention.
    """

    def mean(query: Tensor, key: Tensor, mask: Tensor | None, scale: float) -> Tensor:
        usual, together = received(chunk)(query, key, mask, scale), _together(query, key, mask)  # [B, K]
        total, queries = torch.zeros_like(usual), torch.zeros_like(usual)
        for start in range(0, query.shape[2], chunk):
            stop = min(start + chunk, query.shape[2])
            ours = together(start, stop).any(1) & (usual > 0)[:, None]  # [B, q, K]
            level = (usual[:, None] * ours).sum(2) / ours.sum(2).clamp(min=1)
            heard = (usual[:, start:stop] > times * level)[..., None] & ours
            total += (_weights(query, key, mask, scale, start, stop).mean(1) * heard).sum(1)
            queries += heard.sum(1)
        return torch.where(queries > 0, total / queries.clamp(min=1), usual)

    return mean


def _together(query: Tensor, key: Tensor, mask: Tensor | None) -> Callable[[int, int], Tensor]:
    """Of some queries, [B or 1, H or 1, q, K or 1] bool: which keys may look at them, or they at those; not padding."""
    if mask is None or query.shape[2] != key.shape[2]:
        return lambda start, stop: query.new_ones(1, 1, stop - start, 1, dtype=torch.bool)
    allowed = mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2
    real = allowed.flatten(1, 2).any(1)[:, None, :, None]  # [B or 1, 1, K, 1]
    allowed = allowed.expand(-1, -1, query.shape[2], -1)

    def same(start: int, stop: int) -> Tensor:
        looks, is_seen = allowed[:, :, start:stop], allowed[..., start:stop].transpose(-1, -2)
        return (looks | is_seen) & real[:, :, start:stop]

    return same


def looks(query: Tensor, key: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """The attention that few queries, such as latents, pay to each key, averaged over heads: [B, Q, K] float32."""
    return _weights(query, key, mask, scale, 0, query.shape[2]).mean(1)


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


def _row(index: int, query: Tensor) -> Tensor:
    """[B, H, 1, d] the query at ``index``."""
    start = index % query.shape[2]
    return query[:, :, start : start + 1]


def _shared(query: Tensor, key: Tensor) -> Tensor:
    """[B, H, K, d] float32, a key for each head of the query."""
    return key.float().repeat_interleave(query.shape[1] // key.shape[1], 1)


def cls_logits(index: int = 0) -> Reduce:
    """What the CLS row is before its softmax: [B, H, K] float32 (GlobalCom2, arXiv 2501.05179)."""

    def row(query: Tensor, key: Tensor, mask: Tensor | None, scale: float) -> Tensor:
        return (_row(index, query).float() @ _shared(query, key).mT)[:, :, 0] * scale

    return row


def wide_cls_row(index: int = 0) -> Reduce:
    """The CLS row of all heads as one wide head: [B, K] float32 (LLaVA-PruMerge, arXiv 2403.15388)."""

    def row(query: Tensor, key: Tensor, mask: Tensor | None, scale: float) -> Tensor:
        parts = (_row(index, query).float(), _shared(query, key))
        one, every = (rearrange(part, "b h n d -> b n (h d)") for part in parts)
        weights: Tensor = (one @ every.mT * one.shape[-1] ** -0.5).softmax(-1)  # [B, 1, K]
        return weights[:, 0]

    return row


def keys(query: Tensor, key: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """The keys of all heads side by side: [B, H * d, K] float32."""
    return rearrange(key.float(), "b h n d -> b (h d) n")


def mean_keys(query: Tensor, key: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """The mean of the keys over heads: [B, d, K] float32."""
    return key.float().mean(1).mT


def reduce_of(kind: str, cls: int) -> Reduce:
    """How the cue called ``kind`` is made, ``global_attention:3`` by number; ``cls``: where the CLS token stands."""
    rows: dict[str, Callable[[int], Reduce]] = {
        "cls_attention": cls_row,
        "cls_logits": cls_logits,
        "wide_cls_attention": wide_cls_row,
    }
    kind, _, times = kind.partition(":")
    rest: dict[str, Reduce] = {"received_attention": received(), "keys": keys, "mean_keys": mean_keys}
    rest["global_attention"] = globally_received(float(times or 1))
    return rows[kind](cls) if kind in rows else rest[kind]


OF_CLS = frozenset({"cls_attention", "cls_logits", "wide_cls_attention"})
OF_ALL = frozenset({"received_attention", "global_attention", "keys", "mean_keys"})
