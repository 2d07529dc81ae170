"""LLaVA-1.5: one row of tokens an image, the output of the last layer but one, projected by two linear layers."""

from tokenprune.family import Family
from tokenprune_adapters.towers import BY_TYPE

LLAVA = Family(model_types=("llava",), towers=BY_TYPE)
