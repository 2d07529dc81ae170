"""A prompt about an image that shows nothing: what matters to FLOPs and time is how large things are."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tokenprune.errors import AttachError
from tokenprune.family import Family, Model, square, tower_of
from tokenprune.layout import Seen
from tokenprune.layouts import Native, Packed, Tiles
from tokenprune.listen import Settings
from tokenprune.placeholders import Size, layout_of

_FIRST = 10  # ids below are often special


def blank_pixels(family: Family, model: Model, image: Size, processor: Any = None) -> dict[str, Any]:
    """What an image processor makes of a black image.

    Args:
        family: the model's family.
        model: the model; on the meta device will do.
        image: (height, width) in pixels.
        processor: the model's image processor. None: the image is neither resized nor cut, but to whole tokens and
            to the crops that the config asks for.

    Raises:
        AttachError: without its processor it is not known what this model takes.
    """
    from PIL import Image

    if family.tower is None or family.cross is not None:
        raise AttachError(
            f"{type(model).__name__} has no vision encoder whose tokens stand in the prompt, so there is nothing to "
            "count or time; name a model that has"
        )
    if processor is not None:
        return dict(processor(images=[Image.new("RGB", image[::-1])], return_tensors="pt"))
    patch: int = model.config.vision_config.patch_size
    layout, reads = layout_of(family, tower_of(family, model)[1]), _arguments(model, family.method)
    if isinstance(layout, Packed):
        return _crops(layout, model, image)
    if isinstance(layout, Native) and "image_grid_thw" in reads:
        return _patches(layout, model.config, image)
    if isinstance(layout, Tiles) and "pixel_values" in reads:
        height, width = (side * patch for side in square(model.config))
        return {"pixel_values": torch.zeros(1, 3, height, width)}
    raise AttachError(
        f"what {type(model).__name__} takes of an image only its image processor knows; name the folder that the "
        "model was saved to with its processor, or a name on the hub"
    )


def _crops(layout: Packed, model: Model, image: Size) -> dict[str, Any]:
    """[1, crops, 3, S, S] of an overview and its crops."""
    sizes, side = torch.tensor([image]), model.config.vision_config.image_size
    none = torch.zeros(0, 0)
    seen = Seen(Settings(model.config, {}), model.base_model, {"image_sizes": sizes}, [none], none, none)
    return {"pixel_values": torch.zeros(1, layout.crops(seen)[0], 3, side, side), "image_sizes": sizes}


def _patches(layout: Native, config: Any, image: Size) -> dict[str, Any]:
    """[P, pixels] the patches of an image of its own size, in whole tokens."""
    vision: Any = config.vision_config
    patch, merge = int(vision.patch_size), layout.merge(config)
    height, width = (max(1, round(side / (patch * merge))) * merge for side in image)
    colours = getattr(vision, "in_channels", None) or getattr(vision, "in_chans", 3)
    frames = getattr(vision, "temporal_patch_size", 1)
    return {
        "pixel_values": torch.zeros(height * width, int(colours or 3) * frames * patch**2),
        "image_grid_thw": torch.tensor([[1, height, width]]),
    }


def blank_prompt(family: Family, model: Model, pixels: Mapping[str, Any], rows: int, text: int) -> dict[str, Any]:
    """A whole call on the host: one image of ``rows`` placeholders between a few words and the other ``text``.

    Args:
        family: the model's family.
        model: the model.
        pixels: as `blank_pixels` gives them.
        rows: placeholders of the image, separators among them.
        text: tokens of text; which ones is drawn.
    """
    place = int(getattr(model.config, family.placeholder))
    words = int(model.config.get_text_config().vocab_size)
    drawn = torch.randint(_FIRST, max(_FIRST + 1, words - 1), (text,), generator=torch.Generator().manual_seed(0))
    drawn = torch.where(drawn == place, _FIRST, drawn)
    before = text - words_after(text)
    ids = torch.cat([drawn[:before], torch.full((rows,), place), drawn[before:]])[None]  # [1, text + rows]
    call: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **pixels}
    takes = _arguments(model, "forward")
    kinds = {name: (ids == place).long() for name in ("mm_token_type_ids", "token_type_ids") if name in takes}
    return {**call, **kinds}


def words_after(text: int) -> int:
    """How many of so many tokens of text follow the image in `blank_prompt`; they are the question."""
    return text - text // 4


def visual(family: Family, model: Model, ids: Tensor) -> Tensor:
    """[B, T] bool, where a prompt takes feature rows."""
    here: Tensor = ids == getattr(model.config, family.placeholder)
    return here


def _arguments(model: Model, method: str) -> Mapping[str, Any]:
    owner = type(model) if method == "forward" else type(model.base_model)
    return inspect.signature(getattr(owner, method)).parameters
