"""Chameleon and Emu3: pixels become codes of a visual vocabulary, which the language model's own table embeds."""

from dataclasses import replace
from typing import Any

import torch

from tokenprune.counted import Counted
from tokenprune.family import Family
from tokenprune.layout import Layout, Seen
from tokenprune.layouts import Native, Tiles


def _pixels(config: Any) -> int:
    """Pixels along a side of a code."""
    return int(2 ** (len(config.vq_config.channel_multiplier) - 1))


def _square(config: Any) -> tuple[int, int]:
    side = config.vq_config.resolution // _pixels(config)
    return side, side


def _grids(seen: Seen) -> torch.Tensor:
    """[I, 3] frames, height and width in codes."""
    sizes = torch.as_tensor(seen.call["image_sizes"]) // _pixels(seen.config)
    return torch.cat([torch.ones_like(sizes[:, :1]), sizes], 1)


_CODES = Native(_grids, lambda config: 1, blocks=False)


def _with_line_ends(seen: Seen) -> Layout:
    """Emu3 ends every line of codes with a row of its own."""
    sizes = _grids(seen).tolist()
    codes = [piece[: height * width] for piece, (_, height, width) in zip(seen.pieces, sizes, strict=True)]
    return _CODES(replace(seen, pieces=codes)).lined([width for _, _, width in sizes])


CHAMELEON = Family(
    model_types=("chameleon",),
    towers={},
    tower=None,
    projector=None,
    language_model="",
    layout=Tiles(grid=_square),
)
EMU3 = Family(
    model_types=("emu3",),
    towers={},
    tower=None,
    projector=None,
    language_model="text_model",
    layout=Counted(
        _with_line_ends,
        rows=lambda seen: sum(height * (width + 1) for _, height, width in _grids(seen).tolist()),
        alone=lambda config, size: (size[0] // _pixels(config)) * (size[1] // _pixels(config) + 1),
    ),
)
