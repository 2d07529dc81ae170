"""Gemma 3 and ShieldGemma 2: average pooling to 256 tokens an image; pan-and-scan crops are images of their own."""

from typing import Any

from tokenprune.family import Family, square
from tokenprune.layouts import Tiles
from tokenprune_adapters.towers import SIGLIP


def _merge(config: Any) -> int:
    return int(square(config)[0] // config.mm_tokens_per_image**0.5)


def _grid(config: Any) -> tuple[int, int]:
    side = int(config.mm_tokens_per_image**0.5)
    return side, side


GEMMA3 = Family(
    model_types=("gemma3", "shieldgemma2"),
    towers={"siglip_vision_model": SIGLIP},
    layout=Tiles(grid=_grid, merge=_merge),
)
