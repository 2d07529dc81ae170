"""LLaVA-OneVision: packed as LLaVA-NeXT; the crops of a large image are shrunk as one map.

The frames of a video are halved, between patches where their number is odd, and one newline ends it.
"""

from tokenprune.family import Family, square
from tokenprune.frames import Frames, halved
from tokenprune.layouts import Packed
from tokenprune.video import Video
from tokenprune_adapters.towers import BY_TYPE

LLAVA_ONEVISION = Family(
    model_types=("llava_onevision",),
    towers=BY_TYPE,
    layout=Packed(),
    video=Video(Frames(lambda config: halved(square(config)), newline=True)),
)
