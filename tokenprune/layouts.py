"""The three ways in which families lay tokens out: tiles of one size, images of their own size, and packed crops."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tokenprune.errors import UnsupportedMode
from tokenprune.layout import Layout, Seen, check_rows, places, raster, tile_groups


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
        grids: [I, 3] int64 (frames, height, width) in patches, from the call.
        merge: patches a side that are merged into one token, from the config.
        order: the block at each place of the encoder's sequence, where it is not the order of the tokens.
        blocks: whether the patches of a block follow each other; else an image's patches are in reading order.
    """

    grids: Callable[[Seen], Tensor]
    merge: Callable[[Any], int]
    order: Callable[[Seen], Tensor] | None = None
    blocks: bool = True

    def __call__(self, seen: Seen) -> Layout:
        """The layout of one call."""
        merge, device = self.merge(seen.config), seen.device
        sizes = [(t, h // merge, w // merge) for t, h, w in self.grids(seen).tolist()]
        counts = [t * h * w for t, h, w in sizes]
        check_rows(seen, sum(counts))
        most = max(counts)
        at = torch.arange(most, device=device)
        valid = at < torch.tensor(counts, device=device)[:, None]  # [I, N]
        index = valid.flatten().nonzero()[:, 0]
        patches = torch.zeros(len(counts) * most, merge**2, dtype=torch.int64, device=device)
        patches[index] = self._patches(seen, sizes, merge)
        width = torch.tensor([w for _, _, w in sizes], device=device)[:, None]
        return Layout(
            lengths=counts,
            index=index,
            patches=patches.view(len(counts), most, -1),
            item=torch.arange(len(counts)),
            group=torch.arange(len(counts)),
            outputs=patches[index].numel(),
            valid=None if bool(valid.all()) else valid,
            place=torch.stack([at // width, at % width], -1),
            canvas=torch.tensor([(t * h, w) for t, h, w in sizes], device=device),
        )

    def _patches(self, seen: Seen, sizes: list[tuple[int, int, int]], merge: int) -> Tensor:
        """[R, K] the encoder outputs of each token, all images laid end to end."""
        total = sum(t * h * w for t, h, w in sizes)
        if self.blocks:
            blocks = torch.arange(total * merge**2, device=seen.device).view(total, -1)
            return blocks if self.order is None else blocks[self.order(seen).to(seen.device).argsort()]
        parts, start = [], 0
        for t, h, w in sizes:
            parts.append(start + raster((t * h, w), merge, seen.device))
            start += t * h * w * merge**2
        return torch.cat(parts)


@dataclass(frozen=True)
class Packed:
    """An image is an overview and crops, which the model's own code lays side by side, unpads and packs (AnyRes).

    A map of token numbers goes through that code; where it comes out says which tokens arrive, and where.
    """

    def __call__(self, seen: Seen) -> Layout:
        """The layout of one call.

        Raises:
            UnsupportedMode: the model's code interpolates between tokens, so that no row is a token.
        """
        side = seen.config.vision_config.image_size // seen.config.vision_config.patch_size
        count = side**2
        crops = self.crops(seen)
        numbers = torch.arange(sum(crops) * count, device=seen.device, dtype=torch.float64).view(-1, count, 1)
        rows = torch.cat(self.pack(seen, list(torch.split(numbers, crops))))[:, 0]  # [R]
        if bool((rows != rows.round()).any()):
            raise UnsupportedMode(
                "this image is shrunk between its crops, so that its rows are mixtures of tokens; give a smaller image"
            )
        index = rows.long()
        check_rows(seen, len(index))
        arrives = torch.zeros(sum(crops) * count + 1, dtype=torch.bool, device=seen.device)
        arrives[index] = True  # -1, the separators, goes to the spare last place
        lengths = [len(piece) for piece in seen.pieces]
        owner = torch.arange(len(crops)).repeat_interleave(torch.tensor(crops))
        place, canvas = self._places(torch.split(index, lengths), crops, side)
        return Layout(
            lengths=lengths,
            index=index,
            patches=torch.arange(sum(crops) * count, device=seen.device).view(-1, count, 1),
            item=owner,
            group=owner,
            outputs=sum(crops) * count,
            sequence=count,
            valid=arrives[:-1].view(-1, count),
            place=place.to(seen.device),
            canvas=canvas.to(seen.device),
            overview=torch.tensor([crop == 0 for number in crops for crop in range(number)]),
        )

    def crops(self, seen: Seen) -> list[int]:
        """Crops of each image, the overview among them."""
        from transformers.models.llava_next.modeling_llava_next import image_size_to_num_patches

        pins, size = seen.config.image_grid_pinpoints, seen.config.vision_config.image_size
        several = seen.call.get("batch_num_images")
        alone = [True] * len(seen.call["image_sizes"])
        if several is not None:
            alone = [int(n) == 1 for n in several for _ in range(int(n))]
        sizes = zip(seen.call["image_sizes"], alone, strict=True)
        return [image_size_to_num_patches(one, pins, size) if cropped else 1 for one, cropped in sizes]

    def pack(self, seen: Seen, maps: list[Tensor]) -> list[Tensor]:
        """Maps [crops, N, 1] through the model's own packing; a newline is -1."""
        function = seen.base.pack_image_features
        names = inspect.signature(function).parameters
        options = {
            name: getattr(seen.config, name)
            for name in ("vision_feature_select_strategy", "vision_aspect_ratio")
            if name in names
        }
        newline = torch.full((1,), -1.0, dtype=torch.float64, device=seen.device)
        packed: list[Tensor] = function(maps, seen.call["image_sizes"], image_newline=newline, **options)[0]
        return packed

    def _places(self, rows: tuple[Tensor, ...], crops: list[int], side: int) -> tuple[Tensor, Tensor]:
        """Place [B, N, 2] and canvas [B, 2] of every token: its line and column between the newlines."""
        count = side**2
        place = torch.full((sum(crops) * count, 2), -1, dtype=torch.int64)
        canvas = torch.full((sum(crops), 2), side, dtype=torch.int64)
        cell = torch.stack([torch.arange(count) // side, torch.arange(count) % side], -1)
        start = 0
        for image, number in zip(rows, crops, strict=True):
            place[start * count : (start + 1) * count] = cell
            rest = image.cpu()[count:]
            if number > 1:
                line = (rest < 0).cumsum(0) - (rest < 0).long()
                begins = torch.cat([torch.zeros(1, dtype=torch.int64), (rest < 0).nonzero()[:, 0] + 1])
                column = torch.arange(len(rest)) - begins[line]
                real = rest >= 0
                place[rest[real]] = torch.stack([line[real], column[real]], -1)
                lines = int((rest < 0).sum()) or 1
                canvas[start + 1 : start + number] = torch.tensor([lines, int(real.sum()) // lines])
            start += number
        return place.view(-1, count, 2), canvas
