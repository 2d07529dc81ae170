"""How many placeholders the images of a call fill, from geometry alone: nothing is encoded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch

from tokenprune.family import Family, Model, Tower, square, tower_of
from tokenprune.layout import Seen
from tokenprune.layouts import Native, Packed, Tiles
from tokenprune.listen import Settings

Size = tuple[int, int]


@dataclass(frozen=True)
class Placeholders:
    """Placeholder tokens of one image.

    Args:
        height, width: of the image, in pixels.
        count: how many.
        note: what the count rests on where no image processor says how the image is resized and cut.
    """

    height: int
    width: int
    count: int
    note: str = ""


def layout_of(family: Family, spec: Tower) -> Any:
    """How a family lays out what an encoder gives."""
    return spec.layout or family.layout


def count_rows(family: Family, model: Model, call: Mapping[str, Any]) -> int | None:
    """Feature rows of all images of a call, each of which fills a placeholder; separators are among them.

    Args:
        family: the model's family.
        model: the model; on the meta device will do.
        call: what its image processor returns.

    Returns:
        None where the layout is none of `tokenprune.layouts`, so that only a run tells, and where images fill no
        placeholders.
    """
    if family.cross is not None:
        return None
    config, spec = Settings(model.config, call), tower_of(family, model)[1]
    layout = layout_of(family, spec)
    none = torch.zeros(0, 0)
    seen = Seen(config, model.base_model, call, [none], none, none)
    if isinstance(layout, Packed):
        crops, side = layout.crops(seen), square(model.config)[0] // layout.merge(config)
        maps = torch.zeros(sum(crops), side**2, 1)
        return sum(len(rows) for rows in layout.pack(seen, list(torch.split(maps, crops))))
    if isinstance(layout, Native):
        return int(layout.grids(seen).prod(-1).sum()) // layout.merge(config) ** 2
    if isinstance(layout, Tiles):
        tiles: int = prod(next(call[name] for name in family.pixels if name in call).shape[:-3])
        return tiles * (prod(layout.grid(config)) + _beside(config, spec))
    return None


def _beside(config: Any, spec: Tower) -> int:
    """Rows of a tile beside its patches: a CLS token that stays, or a first patch taken for one."""
    strategy = getattr(config, "vision_feature_select_strategy", None)
    return int(strategy == "full" and spec.cls is not None) - int(strategy == "default" and spec.cls is None)


def count_placeholders(family: Family, model: Model, size: Size, processor: Any, why: str) -> Placeholders | None:
    """The placeholders that one image fills.

    Args:
        family: the model's family.
        model: the model; on the meta device will do.
        size: (height, width) of the image in pixels.
        processor: the model's image processor. None: it is taken as it is.
        why: why there is none.

    Returns:
        None where only a run, or an image processor, tells.
    """
    layout = layout_of(family, tower_of(family, model)[1])
    try:
        call = _assumed(layout, model.config, size) if processor is None else _processed(processor, size)
        count = count_rows(family, model, call)
    except (AttributeError, KeyError):  # the layout reads what only the model's own processor gives
        return None
    return None if count is None else Placeholders(*size, count, _doubt(layout, why) if processor is None else "")


def _processed(processor: Any, size: Size) -> Mapping[str, Any]:
    """What an image processor makes of a black image."""
    from PIL import Image

    call: Mapping[str, Any] = processor(images=[Image.new("RGB", size[::-1])], return_tensors="pt")
    return call


def _doubt(layout: Any, why: str) -> str:
    """What an image processor would have said; nothing where the config decides."""
    if isinstance(layout, Native):
        return f"unless the image is resized, which is for its image processor to say: {why}"
    if isinstance(layout, Tiles) and layout.image != "tile":
        return f"a tile; how many an image is cut into is for its image processor to say: {why}"
    return ""


def _assumed(layout: Any, config: Any, size: Size) -> dict[str, torch.Tensor]:
    """The call that an image makes which is neither resized nor cut, but to whole tokens."""
    sizes = torch.tensor([size])
    if not isinstance(layout, Native):
        return {"image_sizes": sizes, "pixel_values": torch.empty(1, 3, 1, 1)}
    patch, merge = config.vision_config.patch_size, layout.merge(config)
    patches = (sizes / (patch * merge)).round().long().clamp(min=1) * merge
    grids = torch.cat([torch.ones_like(patches[:, :1]), patches], 1)
    return {"image_sizes": patches * patch, "image_grid_thw": grids}
