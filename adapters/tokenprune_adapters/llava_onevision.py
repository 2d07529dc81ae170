"""LLaVA-OneVision: packed as LLaVA-NeXT; the crops of a large image are shrunk as one map."""

from tokenprune.family import Family
from tokenprune.layouts import Packed
from tokenprune_adapters.towers import BY_TYPE

LLAVA_ONEVISION = Family(model_types=("llava_onevision",), towers=BY_TYPE, layout=Packed())
