"""Step 3.7: crops between marker tokens, then the whole image; two strided convolutions make 4 x 4 patches a token."""

from dataclasses import replace

import torch

from tokenprune.counted import Counted
from tokenprune.family import Family, Tower
from tokenprune.layout import Layout, Seen
from tokenprune.layouts import Native

_MERGE = 4


def _crops(seen: Seen) -> list[int]:
    """Crops of each image."""
    given = seen.call.get("num_local_patches")
    return [0] * len(seen.call["pixel_values"]) if given is None else [int(one) for one in given]


def _grids(seen: Seen) -> torch.Tensor:
    """[B, 3] frames, height and width in patches of every crop and image, in the order of the prompt."""
    patch, local = seen.config.vision_config.patch_size, seen.call.get("pixel_values_local")
    whole = [1, *(side // patch for side in seen.call["pixel_values"].shape[-2:])]
    crop = [1, *(side // patch for side in local.shape[-2:])] if local is not None else whole
    return torch.tensor([one for number in _crops(seen) for one in [*[crop] * number, whole]])


_RECTANGLES = Native(_grids, lambda config: _MERGE, blocks=False, reach=_MERGE - 1)


def _layout(seen: Seen) -> Layout:
    """The encoder runs all images first, then all crops; the prompt has the crops of an image before it."""
    laid, crops = _RECTANGLES(seen), _crops(seen)
    whole = torch.tensor([one == number for number in crops for one in range(number + 1)])
    sizes = _grids(seen).prod(-1)
    run = torch.cat([whole.nonzero()[:, 0], (~whole).nonzero()[:, 0]])
    starts = torch.empty_like(sizes)
    starts[run] = sizes[run].cumsum(0) - sizes[run]
    owner = torch.arange(len(crops)).repeat_interleave(torch.tensor(crops) + 1)
    return replace(laid.starting(sizes, starts), group=owner, overview=whole)


STEP3P7 = Family(
    model_types=("step3p7",),
    towers={"step3p5_vision": Tower(attention=("layers.{}.self_attn",))},
    tower="vision_model",
    projector=None,
    pixels=("pixel_values", "pixel_values_local"),
    layout=Counted(_layout, _RECTANGLES.rows),
)
