"""Inkling: every patch is a token, and no attention makes it; images have a size of their own, and no call says it.

The processor cuts an image into patches, and goes past its right edge in every line: what is over is filled with a
value below that of any pixel. So the last patch of a line can be told, and with it the place of every patch.
"""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from tokenprune.counted import Counted
from tokenprune.errors import AttachError
from tokenprune.family import Family, Tower
from tokenprune.layout import Seen
from tokenprune.layouts import Native


def _lines(patches: Tensor) -> list[int]:
    """[1, lines, patches of a line] of one image [P, T, h, w, C].

    Raises:
        AttachError: its lines are not of one length.
    """
    least = patches.amin((0, 1, 2, 3))  # [C]
    ends = (patches[:, 0, 0, -1] == least).all(-1).nonzero()[:, 0].tolist()
    widths = {stop - start for start, stop in pairwise([-1, *ends])}
    if len(widths) != 1 or ends[-1] != len(patches) - 1:
        raise AttachError(
            f"the {len(patches)} patches of an image are no lines of one length, each of which ends in padding; make "
            "pixel_values with the processor of this model"
        )
    return [1, len(ends), widths.pop()]


def _grids(seen: Seen) -> Tensor:
    """[I, 3] frames, height and width in patches; an image is a run of placeholders."""
    counts = [length for prompt in seen.runs for length, _ in prompt]
    return torch.tensor([_lines(one) for one in torch.split(seen.call["pixel_values"], counts)])


_PATCHES = Native(_grids, lambda config: 1, blocks=False)


def _alone(config: Any, size: tuple[int, int]) -> int:
    patch = int(config.vision_config.patch_size)
    return -(-size[0] // patch) * (size[1] // patch + 1)


INKLING = Family(
    model_types=("inkling_mm_model",),
    towers={"inkling_vision": Tower(attention=())},
    projector=None,
    layout=Counted(_PATCHES, rows=lambda seen: len(seen.call["pixel_values"]), alone=_alone),
    policies=("renumber",),  # it looks back by so many tokens, wherever they stood
)
