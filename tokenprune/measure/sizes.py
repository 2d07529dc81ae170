"""Models of real size: a few by name, their configs being built in, and any other by its own config."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import yaml

from tokenprune.configs import config_of, processor_of
from tokenprune.errors import UnknownName
from tokenprune.family import Config
from tokenprune.placeholders import Size
from tokenprune.registry import suggest

_UNKNOWN = (448, 448)  # where neither the caller nor the config says how large an image is


@dataclass(frozen=True)
class Described:
    """A model that need not be there.

    Args:
        name: as it was asked for.
        config: its config.
        image: (height, width) of an image that suits it, in pixels.
        processor: its image processor. None: there is none beside the config.
        note: what that leaves open. Empty: nothing.
    """

    name: str
    config: Config
    image: Size
    processor: Any
    note: str


def built_in() -> dict[str, dict[str, Any]]:
    """The sizes that are built in: of each the ``image``, (width, height), and the ``config``."""
    text = files(__package__).joinpath("sizes.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)  # type: ignore[no-any-return]


def described(source: str) -> Described:
    """A model by its config alone.

    Args:
        source: a size that is built in, such as ``llava-1.5-7b``, or as in `config_of`.

    Raises:
        UnknownName: it is neither.
        AttachError: as in `config_of`.
    """
    from transformers import AutoConfig

    sizes = built_in()
    if source in sizes:
        found = sizes[source]
        width, height = found["image"]
        config = AutoConfig.for_model(**found["config"])
        return Described(source, config, (height, width), None, "")
    try:
        config = config_of(source)
    except UnknownName as problem:
        hint = suggest(source, list(sizes))
        raise UnknownName(f"{problem}; sizes that are built in: {', '.join(sizes)}{hint}") from None
    side = getattr(getattr(config, "vision_config", None), "image_size", None)
    image = (side, side) if isinstance(side, int) else _UNKNOWN
    return Described(source, config, image, *processor_of(source))
