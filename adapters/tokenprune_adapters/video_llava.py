"""Video-LLaVA: an encoder of images and one of videos, whose CLS token comes before each frame."""

from tokenprune.family import Family, square
from tokenprune.frames import Frames, blocks
from tokenprune.layouts import Tiles
from tokenprune.video import Video
from tokenprune_adapters.towers import CLIP

VIDEO_LLAVA = Family(
    model_types=("video_llava",),
    towers={"clip_vision_model": CLIP},
    tower="image_tower",
    pixels=("pixel_values", "pixel_values_images"),
    layout=Tiles(grid=square),
    video=Video(Frames(lambda config: blocks(square(config)), cls=True), tower="video_tower"),
)
