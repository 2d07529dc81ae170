"""Idefics2 and Aria: a resampler sums up every tile in latents; how those of Aria look at patches cannot be read."""

from tokenprune.family import Family, Tower
from tokenprune.layout import Seen
from tokenprune.resampled import Latents


def _queries(seen: Seen) -> int:
    """How many were learned for tiles of this size."""
    patch, (height, width) = seen.config.vision_config.patch_size, seen.call["pixel_values"].shape[-2:]
    queries: int = seen.config.projector_patch_to_query_dict[(height // patch) * (width // patch)]
    return queries


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
    layout=Latents(_queries, image="run"),
)
