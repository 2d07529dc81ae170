"""Unlimited-OCR: crops laid out as one map, then the whole page; a separator after every line and every page."""

from dataclasses import replace

import torch

from tokenprune.counted import Counted
from tokenprune.family import Family, Tower
from tokenprune.layout import Layout, Seen
from tokenprune.layouts import Native

_MERGE = 4  # patches along a side of a token


def _side(seen: Seen, name: str) -> int:
    """Tokens along a side of a view."""
    if seen.call.get(name) is None:
        return 0
    patches: int = seen.call[name].shape[-1] // seen.config.vision_config.sam_config.patch_size
    return -(-patches // _MERGE)


def _maps(seen: Seen) -> list[tuple[int, int, bool]]:
    """(height, width) of each map of tokens in the order of the prompt, and whether it is that of a whole page."""
    whole, local, found = _side(seen, "pixel_values"), _side(seen, "pixel_values_local"), []
    for image in range(len(seen.call["pixel_values"])):
        if local and seen.call["num_local_patches"][image]:
            across, down = map(int, seen.call["patches_grid"][image])
            found.append((down * local, across * local, False))
        found.append((whole, whole, True))
    return found


def _layout(seen: Seen) -> Layout:
    """The encoder runs pages, then crops."""
    maps, local = _maps(seen), _side(seen, "pixel_values_local")
    grids = torch.tensor([[1, height, width] for height, width, _ in maps])
    inner = replace(seen, pieces=[seen.pieces[0].new_zeros(int(grids.prod(-1).sum()), 0)])  # without separators
    laid = Native(lambda _: grids, lambda _: 1, blocks=False)(inner)
    page = torch.tensor([whole for *_, whole in maps])
    patches, start = laid.patches.clone(), 0
    for row in torch.cat([page.nonzero()[:, 0], (~page).nonzero()[:, 0]]).tolist():
        height, width, whole = maps[row]
        side = height if whole else local
        order = torch.arange(height * width).view(height // side, width // side, side, side).transpose(1, 2)
        patches[row, : height * width, 0] = start + order.flatten().to(seen.device)
        start += height * width
    laid = replace(laid, patches=patches, group=page.cumsum(0) - page.long(), overview=page)
    return laid.lined([width for _, width, _ in maps]).closed(page.tolist())


UNLIMITED_OCR = Family(
    model_types=("unlimited_ocr",),
    towers={"unlimited_ocr_vision": Tower(("vision_encoder.encoder.layers.{}.self_attn",), cls="first")},
    pixels=("pixel_values", "pixel_values_local"),
    feature_layer=lambda config: -1,
    layout=Counted(
        _layout, rows=lambda seen: sum(height * (width + 1) + whole for height, width, whole in _maps(seen))
    ),
)
