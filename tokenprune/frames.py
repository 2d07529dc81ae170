"""Videos whose frames are encoder sequences of one size, and how the patches of a frame become its tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import pad

from tokenprune.layout import Layout, Seen, check_rows, places


@dataclass(frozen=True)
class Cells:
    """What the tokens of one frame are made of.

    Args:
        grid: (h, w) of the tokens.
        patches: [N, K] int64, the patches of each token, in reading order over the frame.
        of: patches that a frame has.
        weights: [N, K] float32, the share of each. None: they count alike.
    """

    grid: tuple[int, int]
    patches: Tensor
    of: int
    weights: Tensor | None = None


def blocks(patches: tuple[int, int], side: int = 1) -> Cells:
    """Squares of ``side`` patches, as average pooling lays them out; what is left over at the end is in no token.

    Args:
        patches: (h, w) of a frame.
        side: patches a side of a square.
    """
    height, width = patches[0] // side, patches[1] // side
    number = torch.arange(patches[0] * patches[1]).view(patches)
    inside = number[: height * side, : width * side]
    return Cells((height, width), rearrange(inside, "(h a) (w b) -> (h w) (a b)", a=side, b=side), number.numel())


def halved(patches: tuple[int, int]) -> Cells:
    """Half as many a side, rounded up, each interpolated between the four patches around its middle.

    Args:
        patches: (h, w) of a frame.
    """
    (rows, down), (columns, across) = _between(patches[0]), _between(patches[1])
    near = rows[:, None, :, None] * patches[1] + columns[None, :, None, :]  # [h, w, 2, 2]
    share = down[:, None, :, None] * across[None, :, None, :]
    flat = "h w a b -> (h w) (a b)"
    return Cells((len(rows), len(columns)), rearrange(near, flat), patches[0] * patches[1], rearrange(share, flat))


def _between(count: int) -> tuple[Tensor, Tensor]:
    """[M, 2] the patches along one side that each of half as many tokens lies between, and the share of each."""
    half = (count + 1) // 2
    middle = ((torch.arange(half, dtype=torch.float64) + 0.5) * count / half - 0.5).clamp(min=0)
    first = middle.long()
    beyond = (middle - first).float()
    return torch.stack([first, (first + 1).clamp(max=count - 1)], -1), torch.stack([1 - beyond, beyond], -1)


@dataclass(frozen=True)
class Frames:
    """Every frame is one encoder sequence with the same number of tokens; the videos of a call have as many frames.

    Args:
        cells: what the tokens of a frame are made of, from the config.
        videos: [V, F, ...], of which the first two sides count: videos and frames, from the call.
        cls: whether the CLS token reaches the language model too, before each frame; it stays, as a separator.
        newline: whether a separator ends each video.
    """

    cells: Callable[[Any], Cells]
    videos: Callable[[Seen], Tensor] = lambda seen: seen.call["pixel_values_videos"]
    cls: bool = False
    newline: bool = False

    def __call__(self, seen: Seen) -> Layout:
        """The layout of one call."""
        cells, device = self.cells(seen.config), seen.device
        videos, frames = self.videos(seen).shape[:2]
        count, total = len(cells.patches), videos * frames
        index = torch.arange(total * count, device=device).view(videos, frames, count)
        index = pad(index, (int(self.cls), 0), value=-1).flatten(1)  # [V, rows of a video]
        index = pad(index, (0, int(self.newline)), value=-1)
        check_rows(seen, index.numel())
        patches = cells.patches.to(device) + torch.arange(total, device=device)[:, None, None] * cells.of
        place, canvas = places(cells.grid, total, device)
        owner = torch.arange(videos).repeat_interleave(frames)
        return Layout(
            lengths=[index.shape[1]] * videos,
            index=index.flatten(),
            patches=patches,
            item=owner,
            group=owner,
            outputs=total * cells.of,
            sequence=cells.of,
            place=place,
            canvas=canvas,
            weights=None if cells.weights is None else cells.weights.to(device),
        )
