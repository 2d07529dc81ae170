"""Idefics2 and Aria: a resampler sums up every tile in latents; how those of Aria look at patches cannot be read."""

from tokenprune.family import Family, Tower
from tokenprune.resampled import Latents

IDEFICS2 = Family(
    model_types=("idefics2",),
    towers={"idefics2_vision": Tower()},
    tower="vision_model",
    projector=None,
    resampler="connector.perceiver_resampler.layers.-1.self_attn",
    language_model="text_model",
    layout=Latents(lambda seen: int(seen.config.perceiver_config.resampler_n_latents)),
)
ARIA = Family(
    model_types=("aria",),
    towers={"idefics3_vision": Tower(attention=())},
    projector=None,
    layout=Latents(lambda seen: len(seen.pieces[0]), image="run"),
)
