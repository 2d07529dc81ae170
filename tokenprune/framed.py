"""Images of their own size with separators around them and between their lines (HunYuan-VL)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from tokenprune.layout import Layout, Seen, check_rows
from tokenprune.layouts import Native


@dataclass(frozen=True)
class Framed:
    """`Native`, whose images bring feature rows that are no tokens.

    Args:
        inside: how the images themselves are laid out.
        before, line, after: separators before an image, at the end of each of its lines, and after it.
    """

    inside: Native
    before: int = 0
    line: int = 0
    after: int = 0

    def __call__(self, seen: Seen) -> Layout:
        """The layout of one call."""
        real = self._items(seen)
        check_rows(seen, sum(map(len, real)))
        rows = torch.cat(real).to(seen.device)  # [R]
        layout = self.inside(replace(seen, pieces=[torch.cat(seen.pieces)[rows]]))
        index = torch.full_like(rows, -1, dtype=torch.int64)
        index[rows] = layout.index
        return replace(layout, lengths=[len(one) for one in real], index=index)

    def rows(self, seen: Seen) -> int:
        """Feature rows of all images of a call; their features are not read."""
        return sum(map(len, self._items(seen)))

    def alone(self, config: Any, size: tuple[int, int]) -> int:
        """Feature rows of an image of (height, width) pixels that is not resized."""
        return len(self._real(*self.inside.alone(config, size)))

    def _items(self, seen: Seen) -> list[Tensor]:
        """[L] bool for each image."""
        merge = self.inside.merge(seen.config)
        grids = self.inside.grids(seen).tolist()
        return [self._real(frames * height // merge, width // merge) for frames, height, width in grids]

    def _real(self, height: int, width: int) -> Tensor:
        """[L] bool: the feature rows of an image that are tokens."""
        tokens = torch.ones(height, width, dtype=torch.bool)
        return pad(pad(tokens, (0, self.line)).flatten(), (self.before, self.after))
