"""LLaVA-NeXT: an overview and crops, unpadded and packed with a newline at the end of each line.

LLaVA-NeXT-Video pools the frames of a video before they are projected, 2 x 2 patches a token.
"""

from tokenprune.family import Family, square
from tokenprune.frames import Frames, blocks
from tokenprune.layouts import Packed
from tokenprune.video import Video
from tokenprune_adapters.towers import BY_TYPE

LLAVA_NEXT = Family(model_types=("llava_next",), towers=BY_TYPE, layout=Packed())
LLAVA_NEXT_VIDEO = Family(
    model_types=("llava_next_video",),
    towers=BY_TYPE,
    layout=Packed(),
    video=Video(Frames(lambda config: blocks(square(config), config.spatial_pool_stride))),
)
