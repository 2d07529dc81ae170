"""Idefics2 and Aria: a resampler sums up every tile in latents, of which no cue is read."""

from tokenprune.family import Family, Tower
from tokenprune.resampled import Latents

IDEFICS2 = Family(
    model_types=("idefics2",),
    towers={"idefics2_vision": Tower(attention=()), "idefics2": Tower(attention=())},
    tower="vision_model",
    projector=None,
    language_model="text_model",
    layout=Latents(lambda seen: int(seen.config.perceiver_config.resampler_n_latents)),
)
ARIA = Family(
    model_types=("aria",),
    towers={"idefics3_vision": Tower(attention=())},
    projector=None,
    layout=Latents(lambda seen: len(seen.pieces[0]), image="run"),
)
