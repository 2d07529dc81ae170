"""DeepSeek-OCR 2: crops, the page and a separator; every view is summed up in latents, of which no cue is read."""

from dataclasses import replace

import torch

from tokenprune.counted import Counted
from tokenprune.family import Family, Tower
from tokenprune.layout import Layout, Seen
from tokenprune.layouts import Native


def _latents(seen: Seen, name: str) -> int:
    """How many were learned for views of this size; the encoder makes 4 x 4 patches one before it asks."""
    small, large = seen.base.vision_tower.query_768_resolution, seen.base.vision_tower.query_1024_resolution
    patch = seen.config.vision_config.sam_config.patch_size
    height, width = (-(-(side // patch) // 4) for side in seen.call[name].shape[-2:])
    cells = height * width
    return int((small if cells <= small.num_embeddings else large).num_embeddings)


def _views(seen: Seen) -> tuple[torch.Tensor, list[int]]:
    """[B] bool which views are pages, those of an image after its crops; and the latents of each."""
    crops = seen.call.get("num_local_patches")
    crops = [0] * len(seen.call["pixel_values"]) if crops is None else [int(one) for one in crops]
    page = torch.tensor([one == number for number in crops for one in range(number + 1)])
    return page, [_latents(seen, "pixel_values" if one else "pixel_values_local") for one in page.tolist()]


def _rows(seen: Seen) -> int:
    """Latents, and a separator after each page."""
    page, counts = _views(seen)
    return sum(counts) + int(page.sum())


def _layout(seen: Seen) -> Layout:
    """Each view is a row; latents have no place."""
    page, counts = _views(seen)
    inner = replace(seen, pieces=[seen.pieces[0].new_zeros(sum(counts), 0)])  # without separators
    laid = Native(lambda _: torch.tensor([[1, 1, one] for one in counts]), lambda _: 1, blocks=False)(inner)
    group = page.cumsum(0) - page.long()
    return replace(laid, place=None, canvas=None, group=group, overview=page).closed(page.tolist())


DEEPSEEK_OCR2 = Family(
    model_types=("deepseek_ocr2",),
    towers={"deepseek_ocr2_vision": Tower(attention=())},
    projector=None,
    pixels=("pixel_values", "pixel_values_local"),
    layout=Counted(_layout, _rows),
)
