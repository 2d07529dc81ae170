"""Fuyu: patches are projected as they are; the prompt says where a line ends, and so how wide an image is."""

from typing import Any

import torch

from tokenprune.counted import Counted
from tokenprune.family import Family
from tokenprune.layout import Layout, Seen
from tokenprune.layouts import Native


def _grids(seen: Seen) -> torch.Tensor:
    """[I, 3] frames, lines and patches of a line: lines of one image are one marker apart."""
    grids: list[list[int]] = []
    for here in seen.placeholder.tolist():
        columns = [at for at, one in enumerate(here) if one]
        for before, at in zip([-9, *columns], columns, strict=False):
            if at - before > 2:
                grids.append([1, 1, 0])  # an image begins
            if at - before == 2:
                grids[-1][1] += 1
            grids[-1][2] += grids[-1][1] == 1
    return torch.tensor(grids)


_LINES = Native(_grids, lambda config: 1, blocks=False)


def _layout(seen: Seen) -> Layout:
    """Only the prompt says how large an image is."""
    return _LINES(seen)


def _alone(config: Any, size: tuple[int, int]) -> int:
    """Whole patches, the last of them padded."""
    return -(-size[0] // int(config.patch_size)) * -(-size[1] // int(config.patch_size))


FUYU = Family(
    model_types=("fuyu",),
    towers={},
    tower=None,
    projector=None,
    pixels=("pixel_values", "image_patches"),  # the second is what processors gave before; it is refused by name
    feature_field="last_hidden_state",
    layout=Counted(_layout, rows=lambda seen: len(seen.call["pixel_values"]), alone=_alone),
    since="5.21",
)
