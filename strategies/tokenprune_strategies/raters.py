"""The words of a question that say something of the image (SparseVLM, ICML 2025, arXiv 2410.04417)."""

from __future__ import annotations

import torch
from torch import Tensor

_ROUNDING = 1e-5  # words that are alike are not told apart by it


def raters(inputs: Tensor, question: Tensor) -> Tensor:
    """[B, R] bool, words w with mean over tokens n of softmax_w(x_n . t_w) above the mean of all words.

    Where no word is above, because there is one or they are all alike, all of them are taken. Cost: one product.

    Args:
        inputs: [B, N, C] visual tokens as they enter the language model; zero rows are padding.
        question: [B, R, C] words, as they enter it; zero rows are padding.
    """
    real, there = (question != 0).any(2), (inputs != 0).any(2)  # [B, R], [B, N]
    like = torch.bmm(inputs.float(), question.float().mT).masked_fill(~real[:, None], -torch.inf)  # [B, N, R]
    share = like.softmax(2).nan_to_num(0).masked_fill(~there[..., None], 0).sum(1)  # [B, R]
    mean = share.sum(1, keepdim=True) / real.sum(1, keepdim=True).clamp(min=1)
    above = real & (share > mean * (1 + _ROUNDING))
    return torch.where(above.any(1, keepdim=True), above, real)
