"""LLaVA-OneVision: packed as LLaVA-NeXT; images so large that lines are shrunk between crops are refused.

The frames of a video are halved, between patches where their number is odd, and one newline ends it.
"""

from tokenprune.family import Family, Video, square
from tokenprune.frames import Frames, halved
from tokenprune.layouts import Packed
from tokenprune_adapters.towers import BY_TYPE

LLAVA_ONEVISION = Family(
    model_types=("llava_onevision",),
    towers=BY_TYPE,
    layout=Packed(),
    video=Video(Frames(lambda config: halved(square(config)), newline=True)),
)
