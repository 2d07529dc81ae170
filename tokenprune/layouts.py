"""The three ways in which families lay tokens out: tiles of one size, images of their own size, and packed crops."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tokenprune.layout import Layout, Seen, check_rows, moved, places, raster, tile_groups
from tokenprune.packing import arriving, placed, rows_of, shrunk


@dataclass(frozen=True)
class Tiles:
    """Every tile is one encoder sequence with the same number of tokens (LLaVA, InternVL, Idefics3, Gemma 3, ...).

    Args:
        grid: (h, w) of the tokens of a tile, from the config.
        merge: patches a side that are merged into one token, from the config.
        image: what makes an image of tiles: ``tile``, ``run`` or ``marked``; see `tile_groups`.
    """

    grid: Callable[[Any], tuple[int, int]]
    merge: Callable[[Any], int] = lambda config: 1
    image: str = "tile"

    def __call__(self, seen: Seen) -> Layout:
        """The layout of one call."""
        grid, merge, device = self.grid(seen.config), self.merge(seen.config), seen.device
        whole, rows = grid[0] * grid[1], sum(len(piece) for piece in seen.pieces)
        length = len(seen.pieces[0]) if abs(len(seen.pieces[0]) - whole) == 1 else whole
        tiles, skipped = rows // length, max(whole - length, 0)  # a first patch that never reaches the projector
        count = min(length, whole)  # one row more is a CLS token that reaches the language model, the first of its tile
        check_rows(seen, tiles * length)
        patches = raster(grid, merge, device)[:count]
        index = torch.full((tiles, length), -1, dtype=torch.int64, device=device)
        index[:, length - count :] = torch.arange(tiles * count, device=device).view(tiles, count)
        place, canvas = places(grid, tiles, device)
        return Layout(
            lengths=[length] * tiles,
            index=index.flatten(),
            patches=patches + torch.arange(tiles, device=device)[:, None, None] * patches.numel(),
            item=torch.arange(tiles),
            group=torch.tensor(tile_groups(seen.runs, length, self.image)),
            outputs=tiles * patches.numel(),
            sequence=patches.numel(),
            place=place[:, skipped:],
            canvas=canvas,
        )


@dataclass(frozen=True)
class Native:
    """Every image has a size of its own; its patches come in blocks of ``merge`` squared, one block a token (Qwen-VL).

    Args:
        grids: [I, 3] int64 (frames, height, width) in patches, of each image or video, from the call; a frame is a row.
        merge: patches a side that are merged into one token, from the config.
        order: the block at each place of the encoder's sequence, where it is not the order of the tokens; without
            blocks the patch.
        blocks: whether the patches of a block follow each other; else an image's patches are in reading order.
        reach: see `raster`.
        patch: pixels a side of a patch, from the config.
    """

    grids: Callable[[Seen], Tensor]
    merge: Callable[[Any], int]
    order: Callable[[Seen], Tensor] | None = None
    blocks: bool = True
    reach: int = 0
    patch: Callable[[Any], int] = lambda config: int(config.vision_config.patch_size)

    def __call__(self, seen: Seen) -> Layout:
        """The layout of one call."""
        merge, device = self.merge(seen.config), seen.device
        grids: list[list[int]] = self.grids(seen).tolist()
        sizes = [(h // merge, w // merge) for t, h, w in grids for _ in range(t)]
        counts = [h * w for h, w in sizes]
        check_rows(seen, sum(counts))
        most = max(counts)
        at = torch.arange(most, device=device)
        valid = at < torch.tensor(counts, device=device)[:, None]  # [I, N]
        index = valid.flatten().nonzero()[:, 0]
        made = self._patches(seen, sizes, merge)  # [R, K]
        patches = made.new_zeros(len(counts) * most, made.shape[1]).index_copy_(0, index, made)
        width = torch.tensor([w for _, w in sizes], device=device)[:, None]
        return Layout(
            lengths=counts,
            index=index,
            patches=patches.view(len(counts), most, -1),
            item=torch.arange(len(counts)),
            group=torch.tensor([image for image, (t, _, _) in enumerate(grids) for _ in range(t)]),
            outputs=sum(counts) * merge**2,
            valid=None if bool(valid.all()) else valid,
            place=torch.stack([at // width, at % width], -1),
            canvas=torch.tensor(sizes, device=device),
        )

    def rows(self, seen: Seen) -> int:
        """Feature rows of all images of a call; their features are not read."""
        grids, merge = self.grids(seen).tolist(), self.merge(seen.config)
        return sum(t * (h // merge) * (w // merge) for t, h, w in grids)

    def alone(self, config: Any, size: tuple[int, int]) -> tuple[int, int]:
        """(h, w) of the tokens of an image of (height, width) pixels that is neither resized nor cut."""
        token = self.patch(config) * self.merge(config)
        return max(1, round(size[0] / token)), max(1, round(size[1] / token))

    def _patches(self, seen: Seen, sizes: list[tuple[int, int]], merge: int) -> Tensor:
        """[R, K] the encoder outputs of each token, all images laid end to end."""
        total = sum(h * w for h, w in sizes)
        at = None if self.order is None else self.order(seen).to(seen.device).argsort()
        if self.blocks:
            blocks = torch.arange(total * merge**2, device=seen.device).view(total, -1)
            return blocks if at is None else blocks[at]
        parts, start = [], 0
        for h, w in sizes:
            parts.append(moved(raster((h, w), merge, seen.device, self.reach), start))
            start += h * w * merge**2
        patches = torch.cat(parts)
        return patches if at is None else at[patches]


@dataclass(frozen=True)
class Packed:
    """An image is an overview and crops, which the model's own code lays side by side, unpads and packs (AnyRes).

    A map of token numbers goes through that code; where it comes out says which tokens arrive, and where. Of an image
    that this code shrinks between its crops the rows are the overview and the map, whose tokens are mixtures.

    Args:
        merge: patches a side that are merged into one token, from the config.
    """

    merge: Callable[[Any], int] = lambda config: 1

    def __call__(self, seen: Seen) -> Layout:
        """The layout of one call."""
        merge, vision, crops = self.merge(seen.config), seen.config.vision_config, self.crops(seen)
        side = vision.image_size // vision.patch_size // merge
        count, cells = side**2, raster((side, side), merge, seen.device)

        def pack(values: Tensor, fill: float = 0.0) -> list[Tensor]:
            return self.pack(seen, list(torch.split(values.view(-1, count, values.shape[-1]), crops)), fill)

        numbers = torch.arange(sum(crops) * count, device=seen.device, dtype=torch.float64)
        packed = pack(torch.stack([numbers, numbers**2], -1), -1.0)
        parts, rows, most = rows_of(packed, crops, count)
        check_rows(seen, len(index := torch.cat(parts)))
        owner = torch.arange(len(crops)).repeat_interleave(torch.tensor(rows))
        place, canvas = placed(parts, rows, side, most)
        patches = cells + torch.arange(sum(rows), device=seen.device)[:, None, None] * cells.numel()
        mixed = any(map(shrunk, packed))
        return Layout(
            lengths=[len(piece) for piece in seen.pieces],
            index=index,
            patches=patches if not mixed else patches.new_zeros(sum(rows), most, 1),
            item=owner,
            group=owner,
            outputs=sum(crops) * cells.numel(),
            sequence=cells.numel(),
            valid=arriving(index, sum(rows), most),
            place=place.to(seen.device),
            canvas=canvas.to(seen.device),
            overview=torch.tensor([row == 0 for number in rows for row in range(number)]),
            mix=(lambda values: torch.cat(pack(values))) if mixed else None,
        )

    def rows(self, seen: Seen) -> int:
        """Feature rows of all images of a call, newlines among them; their features are not read."""
        vision, crops = seen.config.vision_config, self.crops(seen)
        maps = torch.zeros(sum(crops), (vision.image_size // vision.patch_size // self.merge(seen.config)) ** 2, 1)
        return sum(map(len, self.pack(seen, list(torch.split(maps, crops)))))

    def crops(self, seen: Seen) -> list[int]:
        """Crops of each image, the overview among them."""
        from transformers.models.llava_next.modeling_llava_next import image_size_to_num_patches

        pins, size = seen.config.image_grid_pinpoints, seen.config.vision_config.image_size
        sizes, several = seen.call["image_sizes"], seen.call.get("batch_num_images")
        alone = [int(n) == 1 for n in several for _ in range(int(n))] if several is not None else [True] * len(sizes)
        both = zip(sizes, alone, strict=True)
        return [image_size_to_num_patches(one, pins, size) if cropped else 1 for one, cropped in both]

    def pack(self, seen: Seen, maps: list[Tensor], fill: float = -1.0) -> list[Tensor]:
        """Maps [crops, N, C] through the model's own packing, with ``fill`` for newlines."""
        names = inspect.signature(function := seen.base.pack_image_features).parameters
        options = {
            name: getattr(seen.config, name)
            for name in ("vision_feature_select_strategy", "vision_aspect_ratio")
            if name in names
        }
        newline = maps[0].new_full(maps[0].shape[-1:], fill)
        packed = function(maps, seen.call["image_sizes"], image_newline=newline, **options)
        return list(packed[0] if isinstance(packed, tuple) else packed)
