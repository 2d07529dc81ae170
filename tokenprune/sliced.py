"""Images of their own size that come with crops of theirs, each between marker tokens (MiniCPM-V, LFM2-VL)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod
from typing import Any, Literal

import torch

from tokenprune.layout import Layout, Seen
from tokenprune.layouts import Native


@dataclass(frozen=True)
class Sliced:
    """`Native`, whose crops of one image share its budget.

    Args:
        inside: how the crops themselves are laid out.
        image: what marks an image: it ``begins`` where the id before a crop is that before the first crop of the
            prompt, or ``ends`` where the id after a crop is that after the last.
    """

    inside: Native
    image: Literal["begins", "ends"]

    def __call__(self, seen: Seen) -> Layout:
        """The layout of one call."""
        layout = self.inside(seen)
        return replace(layout, group=torch.tensor(self._images(seen, layout.lengths)))

    def rows(self, seen: Seen) -> int:
        """Feature rows of all images of a call; their features are not read."""
        return self.inside.rows(seen)

    def alone(self, config: Any, size: tuple[int, int]) -> int:
        """Feature rows of an image of (height, width) pixels that is neither resized nor cut."""
        return prod(self.inside.alone(config, size))

    def _images(self, seen: Seen, lengths: list[int]) -> list[int]:
        """The image of each crop."""
        images: list[int] = []
        for marks in self._marks(seen, lengths):
            first = images[-1] + 1 if images else 0
            if self.image == "begins":
                images += [first - 1 + sum(one == marks[0] for one in marks[: at + 1]) for at in range(len(marks))]
            else:
                images += [first + sum(one == marks[-1] for one in marks[:at]) for at in range(len(marks))]
        return images

    def _marks(self, seen: Seen, lengths: list[int]) -> list[list[int]]:
        """For each prompt the id before each of its crops, or after it; they fill placeholders one after the other."""
        found, ends = [], torch.tensor(lengths).cumsum(0)
        filled = pairwise([0, *seen.placeholder.sum(-1).cumsum(0).tolist()])
        for ids, here, (start, stop) in zip(seen.ids.cpu(), seen.placeholder.cpu(), filled, strict=True):
            mine = ends[(ends > start) & (ends <= stop)] - start  # [crops] where each ends among the placeholders
            columns = here.nonzero()[:, 0]
            if self.image == "begins":
                at = columns[torch.cat([mine.new_zeros(1), mine[:-1]])] - 1 if len(mine) else mine
            else:
                at = columns[mine - 1] + 1
            found.append(ids[at.clamp(0, len(ids) - 1)].tolist())
        return found
