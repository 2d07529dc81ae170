"""Vision encoders that several families are built with."""

from tokenprune.family import Tower

CLIP = Tower(cls="first", patches="embeddings.patch_embedding")
SIGLIP = Tower(patches="embeddings.patch_embedding")
PIXTRAL = Tower(attention=("transformer.layers.{}.attention",))
QWEN = Tower(attention=("blocks.{}.attn",))
TIMM = Tower(attention=())  # modules of timm compute attention by themselves, where nothing can be read

BY_TYPE = {"clip_vision_model": CLIP, "siglip_vision_model": SIGLIP}
