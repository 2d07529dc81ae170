"""PaliGemma: one row of tokens an image, first in the prompt; forward counts positions from one."""

from tokenprune.family import Family
from tokenprune_adapters.towers import SIGLIP

PALIGEMMA = Family(model_types=("paligemma",), towers={"siglip_vision_model": SIGLIP}, first_position=1)
