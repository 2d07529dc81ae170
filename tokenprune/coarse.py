"""Which slots the tokens of a smaller image take: each the middle of what it stands for."""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt

import torch
from torch import Tensor

from tokenprune.selection import Selection
from tokenprune.strategy import BudgetSplitter, Strategy
from tokenprune.tokens import VisualTokens


def check_image(splitter: BudgetSplitter | None, parts: Mapping[str, Strategy | None]) -> None:
    """See whether a stage that re-encodes the image has parts that it can do nothing with.

    Raises:
        ValueError: it has.
    """
    if idle := [name for name, part in parts.items() if part is not None]:
        raise ValueError(f"site: image chooses no tokens, so leave out {', '.join(idle)}")
    if splitter is not None and (splitter.pools or splitter.adaptive or splitter.reads):
        raise ValueError("site: image divides the budget before there are tokens to read; write splitter: equal")


def coarser(tokens: VisualTokens, counts: Tensor) -> Selection:
    """The slots that stay where every row is a smaller image, of at most ``counts`` tokens.

    Rows that are full rectangles become smaller ones of about the same shape; others are cut into runs. The content of
    what stays is replaced, so it is ``merged``; rows that keep everything are as they were.

    Args:
        tokens: B rows of N tokens.
        counts: [B] int64 on the host, at most what each row has.
    """
    here, valid = tokens.device, tokens.valid
    valid = torch.ones(tokens.shape, dtype=torch.bool, device=here) if valid is None else valid
    most, few = (part.to(here, non_blocking=True)[:, None] for part in (tokens.counts, counts))
    mask = _middle(valid.cumsum(1) - 1, few, most)  # [B, N]
    if tokens.place is not None and tokens.canvas is not None:
        side = torch.tensor(sizes(tokens, counts), dtype=torch.int64).view(-1, 2).to(here, non_blocking=True)
        across = _middle(tokens.place, side[:, None], tokens.canvas[:, None]).all(-1)  # [B, N]
        mask = torch.where(_whole(tokens).to(here, non_blocking=True)[:, None], across, mask)
    mask, full = mask & valid, few == most
    return Selection(mask & full, mask & False, mask & ~full)


def sizes(tokens: VisualTokens, counts: Tensor) -> list[tuple[int, int]]:
    """(height, width) of each row as a smaller image; of a row that is no full rectangle, one line."""
    if tokens.canvas is None:
        return [(1, count) for count in counts.tolist()]
    rows = zip(counts.tolist(), tokens.canvas.tolist(), _whole(tokens).tolist(), strict=True)
    return [size(count, *canvas) if whole else (1, count) for count, canvas, whole in rows]


def size(count: int, height: int, width: int) -> tuple[int, int]:
    """The largest (height, width) of at most ``count`` tokens whose sides are scaled alike, to less than one token.

    Of two that are as large the wider.
    """
    high, wide = isqrt(count * height // width), isqrt(count * width // height)
    if not high or not wide:
        return (min(count, 1), count) if width > height else (count, min(count, 1))
    sides = [(y, x) for y in (high, min(height, high + 1)) for x in (wide, min(width, wide + 1))]
    return max((one for one in sides if one[0] * one[1] <= count), key=lambda one: (one[0] * one[1], one[1]))


def _whole(tokens: VisualTokens) -> Tensor:
    """[B] bool on the host: rows that fill their canvas."""
    if tokens.place is None or tokens.canvas is None:
        return torch.zeros(len(tokens.group), dtype=torch.bool)
    return tokens.counts == tokens.canvas.prod(1).cpu()


def _middle(at: Tensor, few: Tensor, many: Tensor) -> Tensor:
    """Whether a place from 0 to ``many`` - 1 is the middle of one of ``few`` parts that these are cut into."""
    twice = 2 * many.clamp(min=1)
    before, behind = (2 * few * there + many - 1 for there in (at, at + 1))
    return before.div(twice, rounding_mode="floor") < behind.div(twice, rounding_mode="floor")
