"""LLaVA-1.5: one row of tokens an image, the output of the last layer but one, projected by two linear layers."""

from dataclasses import replace

from tokenprune.family import Family
from tokenprune.layouts import Native
from tokenprune_adapters.mistral3 import grids
from tokenprune_adapters.towers import BY_TYPE, PIXTRAL

_PIXTRAL = replace(PIXTRAL, layout=Native(grids, lambda config: 1, blocks=False))  # images of their own size
LLAVA = Family(model_types=("llava",), towers={**BY_TYPE, "pixtral": _PIXTRAL})
