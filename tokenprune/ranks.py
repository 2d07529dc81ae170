"""Tokens by falling score; ties to the lower index on every device."""

from __future__ import annotations

import torch
from torch import Tensor

_MANY = 512  # scores; of fewer a sort is faster
_PLACE = 2**30 - 1  # the bits of an index
AT_HAND = ("cpu",)  # devices whose values may be looked at, because nobody has to wait for them


def ranking(scores: Tensor, among: Tensor | None = None) -> Tensor:
    """[B, N] int64, tokens by falling score; ties to the lower index, NaN first.

    Args:
        scores: [B, N].
        among: [B, N] bool, tokens that come before the others; or of whole numbers up to 2, the highest first.
    """
    if _are_many(scores) and at_hand(scores):
        return ascending(_numbers(scores, among)) & _PLACE
    order = scores.argsort(dim=-1, descending=True, stable=True)
    if among is None:
        return order
    # A second stable sort, because -inf is a legal score.
    return order.gather(1, among.gather(1, order).byte().argsort(dim=-1, descending=True, stable=True))


def leading(scores: Tensor, count: int, among: Tensor | None = None, in_order: bool = True) -> Tensor:
    """[..., count] int64, the first of `ranking`, or the same in any order; sorts no more than it has to."""
    size = scores.shape[-1]
    if not _are_many(scores):
        return ranking(scores, among)[..., :count]
    if not at_hand(scores) or not 0 < count < size or (among is not None and among.dtype != torch.bool):
        return _numbered(scores, count, among)
    # Where no two that matter are alike there is one answer, however it is found; and most scores are not alike.
    value, order = (scores if among is None else scores.masked_fill(~among, -torch.inf)).topk(count + 1)
    first, order = 0 if in_order else count - 1, order[..., :count]
    tied = (value[..., first:-1] > value[..., first + 1 :]).all(-1).logical_not_()  # [...], NaN are tied too
    if tied.any():
        order[tied] = _numbered(scores[tied], count, None if among is None else among[tied])
    return order


def _numbered(scores: Tensor, count: int, among: Tensor | None) -> Tensor:
    """[..., count] int64, the first of `ranking`."""
    return _numbers(scores, among).topk(min(count, scores.shape[-1]), dim=-1, largest=False).indices


def at_hand(values: Tensor) -> bool:
    """Whether they may be looked at."""
    return values.device.type in AT_HAND


def _are_many(scores: Tensor) -> bool:
    return scores.dtype == torch.float32 and scores.numel() >= _MANY


def _numbers(scores: Tensor, among: Tensor | None) -> Tensor:
    """[..., N] int64 that ascend as scores [..., N] float32 fall, and then as indices do, which are their lowest bits.

    No two are alike, so that what is picked depends neither on the device nor on how it picks.
    """
    bits = scores.masked_fill(scores.isnan(), torch.nan).add_(0.0).view(torch.int32)  # -0 and 0 are one number
    rising = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    order = torch.arange(scores.shape[-1], device=scores.device).sub(rising, alpha=_PLACE + 1)
    if among is not None:
        order -= (among.long() - 1) << 62
    return order


def grouped(labels: Tensor) -> tuple[Tensor, Tensor]:
    """[..., N] each: whole numbers from 0 up to 2^32 as they ascend, and where each of them was; ties as they come."""
    line = ascending(torch.arange(labels.shape[-1], device=labels.device).add(labels, alpha=_PLACE + 1))
    return line >> _PLACE.bit_length(), line & _PLACE


def ascending(numbers: Tensor) -> Tensor:
    """[..., N] int64, no two of a row alike, in their order; in place, or not. On a CPU numpy is faster at it."""
    if not at_hand(numbers):
        return numbers.sort(dim=-1).values
    numbers.numpy().sort(axis=-1)
    return numbers


def top(scores: Tensor, counts: Tensor, among: Tensor | None = None) -> Tensor:
    """Mask of the largest scores of each row; ties go to the lower index, NaN counts as the largest.

    Args:
        scores: [B, N].
        counts: [B] int64 on the host, at most the number of true entries of ``among``.
        among: [B, N] bool, the tokens to choose from. None: all.

    Returns:
        [B, N] bool with ``counts`` true entries a row.
    """
    wanted = counts.tolist()
    most = max(wanted, default=0)
    mask = torch.zeros_like(scores, dtype=torch.bool)
    if not most:
        return mask
    if min(wanted) == most:
        return mask.scatter_(1, leading(scores, most, among, in_order=False), True)
    order = leading(scores, most, among)
    rank = torch.arange(most, device=order.device)
    taken = rank < counts.to(order.device, non_blocking=True)[:, None]  # [B, T]
    return mask.scatter_(1, order, taken)
