"""LLaVA-NeXT: an overview and crops, unpadded and packed with a newline at the end of each line."""

from tokenprune.family import Family
from tokenprune.layouts import Packed
from tokenprune_adapters.towers import BY_TYPE

LLAVA_NEXT = Family(model_types=("llava_next", "llava_next_video"), towers=BY_TYPE, layout=Packed())
