"""How much of what a thumbnail says lies in each of its crops."""

from __future__ import annotations

import torch
from torch import Tensor

from tokenprune.tokens import VisualTokens


def seen_in_rows(values: Tensor, tokens: VisualTokens, of: list[int]) -> Tensor:
    """[B] sum of the values [B, N] of a row's thumbnail over those of its tokens that lie in the row; zero without.

    A token of the thumbnail lies in the crop that holds the token of the map under its middle.
    """
    assert tokens.place is not None
    assert tokens.canvas is not None
    row = torch.tensor(of).clamp(min=0).to(values.device, non_blocking=True)
    size, canvas = tokens.canvas[row], tokens.canvas  # [B, 2] of the thumbnail, of the map
    at = ((tokens.place[row] + 0.5) * (canvas / size)[:, None]).floor()  # [B, N, 2] in the map
    count = int(tokens.group.bincount().max()) * tokens.shape[1]  # a map holds the tokens of its rows, and no more
    there = torch.zeros(len(at), count + 1, dtype=torch.bool, device=at.device)
    there.scatter_(1, _cell(tokens.place, canvas, count), True)
    there[:, count] = False
    inside = there.gather(1, _cell(at.long(), canvas, count))  # [B, N], whether the row has a token there
    return values[row].masked_fill(~inside, 0).sum(1)


def _cell(place: Tensor, canvas: Tensor, count: int) -> Tensor:
    """[B, N] number of the cell at ``place`` [B, N, 2]; ``count`` where that is not on the map."""
    (y, x), (height, width) = place.unbind(2), canvas[..., None].unbind(1)  # [B, N], [B, 1]
    within = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    return torch.where(within, y * width + x, count).clamp(max=count)
