"""How many placeholders the images of a call fill, from geometry alone: no weights are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from tokenprune.family import Config, Family, Model, Tower, square, tower_of
from tokenprune.features import pieces_of
from tokenprune.layout import Seen
from tokenprune.layouts import Native, Packed, Tiles
from tokenprune.listen import Settings
from tokenprune.resampled import Latents
from tokenprune.vision import arguments_of

Size = tuple[int, int]
_CROSSED = "keys and values that the text looks at; they fill no places of the prompt"


@dataclass(frozen=True)
class Placeholders:
    """Placeholder tokens of one image.

    Args:
        height, width: of the image, in pixels.
        count: how many. None: only the model's own image processor tells, or a run.
        note: what the count rests on where no image processor says how the image is resized and cut, what it counts
            where images fill no placeholders, and why there is none.
    """

    height: int
    width: int
    count: int | None
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
        None where images fill no placeholders, and where neither the layout nor the encoder says anything of a call
        without numbers.
    """
    if family.cross is not None:
        return None
    spec = tower_of(family, model)[1]
    layout = layout_of(family, spec)
    if isinstance(layout, Tiles):
        config, pixels = Settings(model.config, call), next(call[name] for name in family.pixels if name in call)
        return int(prod(pixels.shape[:-3])) * (prod(layout.grid(config)) + _beside(config, spec))
    if not hasattr(layout, "rows"):
        return _run(family, model, call)
    return int(layout.rows(_seen(model, call)))


def _seen(model: Model, call: Mapping[str, Any]) -> Seen:
    """A call of which nothing is encoded."""
    none = torch.zeros(0, 0)
    return Seen(Settings(model.config, call), model.base_model, call, [none], none, none)


def _run(family: Family, model: Model, call: Mapping[str, Any]) -> int | None:
    """What the model's own encoder gives; on the meta device that is shapes alone."""
    device, given = next(model.parameters()).device, arguments_of(family, model, call)
    given = {name: value.to(device) if isinstance(value, Tensor) else value for name, value in given.items()}
    try:
        with torch.no_grad():
            output = getattr(model.base_model, family.method)(**given, return_dict=True)
        return sum(map(len, pieces_of(output, family.feature_field)))
    except RuntimeError:  # it looks at numbers, which there are none of
        return None


def _beside(config: Any, spec: Tower) -> int:
    """Rows of a tile beside its patches: a CLS token that stays, or a first patch taken for one."""
    strategy = getattr(config, "vision_feature_select_strategy", None)
    return int(strategy == "full" and spec.cls is not None) - int(strategy == "default" and spec.cls is None)


def count_placeholders(family: Family, model: Model, size: Size, processor: Any, why: str) -> Placeholders:
    """The placeholders that one image fills.

    Args:
        family: the model's family.
        model: the model; on the meta device will do.
        size: (height, width) of the image in pixels.
        processor: the model's image processor. None: the image is taken as it is.
        why: why there is none.
    """
    layout = layout_of(family, tower_of(family, model)[1])
    call = None if processor is None else _processed(processor, size)
    try:
        if family.cross is not None:
            return _crossed(family, model, size, call, why)
        count = alone(layout, family, model, size) if call is None else count_rows(family, model, call)
    except (AttributeError, KeyError):  # the layout reads what only the model's own processor gives
        count = None
    if count is not None:
        return Placeholders(*size, count, _doubt(layout, why) if call is None else "")
    if call is not None:
        return Placeholders(*size, None, "only a run of this model tells: its image processor alone does not say it")
    return Placeholders(
        *size,
        None,
        f"only its image processor tells ({why}); name the folder that the model was saved to with its processor, or a "
        "name on the hub",
    )


def _crossed(family: Family, model: Model, size: Size, call: Mapping[str, Any] | None, why: str) -> Placeholders:
    """What the text looks at through cross-attention."""
    assert family.cross is not None
    tile = prod(square(model.config))
    if call is None:
        return Placeholders(*size, tile, f"{_cut(why)}; {_CROSSED}")
    return Placeholders(*size, int(family.cross.tiles(model.config, call).prod(-1).sum()) * tile, _CROSSED)


def _processed(processor: Any, size: Size) -> Mapping[str, Any]:
    """What an image processor makes of a black image."""
    from PIL import Image

    call: Mapping[str, Any] = processor(images=[Image.new("RGB", size[::-1])], return_tensors="pt")
    return call


def _cut(why: str) -> str:
    return f"a tile; how many an image is cut into is for its image processor to say: {why}"


def _doubt(layout: Any, why: str) -> str:
    """What an image processor would have said; nothing where the config decides."""
    if isinstance(layout, Latents) or (isinstance(layout, Tiles) and layout.image != "tile"):
        return _cut(why)
    if isinstance(layout, Tiles | Packed):
        return ""
    return f"unless the image is resized or cut, which is for its image processor to say: {why}"


def alone(layout: Any, family: Family, model: Model, size: Size) -> int | None:
    """Feature rows of an image that is neither resized nor cut, but to whole tokens, and to what the config asks for.

    Args:
        layout: how the family lays out images, or videos.
        family: the model's family.
        model: the model; on the meta device will do.
        size: (height, width) of the image in pixels.
    """
    config: Config = Settings(model.config, {})
    if isinstance(layout, Native):
        return prod(layout.alone(config, size))
    if isinstance(layout, Tiles | Packed | Latents):
        pixels = torch.empty(1, 3, *size, device="meta")
        return count_rows(family, model, {"image_sizes": torch.tensor([size]), "pixel_values": pixels})
    count = getattr(layout, "alone", None)
    return None if count is None else int(count(config, size))
