"""The numbers in drawn tokens: what is awkward about them has a name."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

KINDS = ("exact", "normal", "tied", "duplicates", "zeros", "tiny", "huge", "nan")
"""What the features look like.

exact: four entries of 1 or -1 a token, so that norms, cosines and their sums come out the same in any order;
normal: as drawn; tied: all tokens alike; duplicates: three different tokens at most; zeros: some of them zero;
tiny, huge: squares underflow, overflow; nan: NaN and both infinities here and there.
"""


def features(kind: str, shape: tuple[int, int, int], dtype: torch.dtype, g: Generator) -> Tensor:
    """[B, N, C] of that kind."""
    batch, count, _ = shape
    if kind == "exact":
        sign = torch.randint(0, 2, shape, generator=g) * 2 - 1
        return (sign * (torch.rand(shape, generator=g).argsort(-1) < 4)).to(dtype)
    x = torch.randn(shape, generator=g)
    if kind == "tied":
        x = x[:1, :1].expand(shape).clone()
    elif kind == "duplicates":
        x = x.flatten(0, 1)[torch.randint(0, min(3, batch * count), (batch, count), generator=g)]
    elif kind == "zeros":
        x = x * (torch.rand(batch, count, 1, generator=g) < 0.5)
        x[:, 0] = 0
    elif kind == "tiny":
        x = x * (6e-8 if dtype == torch.float16 else 1e-30)
    elif kind == "huge":
        most = 6e4 if dtype == torch.float16 else 1e30
        x = (x * most).clamp(-most, most)
    elif kind == "nan":
        x = _pepper(x, g)
    return x.to(dtype)


def attention(kind: str, shape: tuple[int, ...], dtype: torch.dtype, g: Generator) -> Tensor:
    """[B, N] or [B, H, N], as awkward as the features of that kind; not negative."""
    if kind == "exact":  # few different values, and sums of four of them are exact
        return (torch.randint(0, 8, shape, generator=g) / 64).to(dtype)
    if kind == "tied":
        return torch.full(shape, 1 / shape[-1]).to(dtype)
    if kind == "zeros":
        return torch.zeros(shape, dtype=dtype)
    sharpness = {"huge": 200.0, "tiny": 1e-6}.get(kind, 1.0)  # a saturated softmax, and one that is almost level
    x = torch.softmax(torch.randn(shape, generator=g) * sharpness, -1)
    return (_pepper(x, g) if kind == "nan" else x).to(dtype)


def _pepper(x: Tensor, g: Generator) -> Tensor:
    """One entry in four is NaN or an infinity."""
    odd = torch.tensor([float("nan"), float("inf"), float("-inf")])[torch.randint(0, 3, x.shape, generator=g)]
    return torch.where(torch.rand(x.shape, generator=g) < 0.25, odd, x)
