"""LLaVA-OneVision: packed as LLaVA-NeXT; images so large that lines are shrunk between crops are refused."""

from tokenprune.family import Family
from tokenprune.layouts import Packed
from tokenprune_adapters.towers import BY_TYPE

LLAVA_ONEVISION = Family(model_types=("llava_onevision",), towers=BY_TYPE, layout=Packed())
