"""LLaVA-1.5: one row of tokens an image, the output of the last layer but one, projected by two linear layers."""

from tokenprune.family import Family, square
from tokenprune.layout import Layout, Seen
from tokenprune.layouts import Native, Tiles
from tokenprune_adapters.mistral3 import grids
from tokenprune_adapters.towers import BY_TYPE, PIXTRAL

_SQUARE = Tiles(grid=square)
_PIXTRAL = Native(grids, lambda config: 1, blocks=False)


def _layout(seen: Seen) -> Layout:
    """Pixtral is LLaVA with images of their own size."""
    return (_PIXTRAL if seen.config.vision_config.model_type == "pixtral" else _SQUARE)(seen)


LLAVA = Family(model_types=("llava",), towers={**BY_TYPE, "pixtral": PIXTRAL}, layout=_layout)
