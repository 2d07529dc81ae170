"""Families that pack an overview and crops, unpadded, with a newline at the end of each line."""

from dataclasses import dataclass, replace

import torch
from families.tiny import CLIP, IMAGE, SIGLIP, VIDEO, Case, alive, noise, padded, rows, text

SIDE, PATCH = 5, 4  # tokens along a side of a crop, pixels along a side of a token
PINS = [[20, 40], [40, 20], [40, 40]]


@dataclass(frozen=True)
class Image:
    """One image, worked out by hand.

    Args:
        size: (height, width) in pixels.
        crops: (down, across); None: only the overview.
        canvas: (h, w) of the tokens without padding.
        offset: (y, x) of the first token that is no padding.
        shrunk: (h, w) of the tokens after shrinking. None: they are not shrunk.
    """

    size: tuple[int, int]
    crops: tuple[int, int] | None
    canvas: tuple[int, int] = (0, 0)
    offset: tuple[int, int] = (0, 0)
    shrunk: tuple[int, int] | None = None

    @property
    def count(self):
        """How many crops, the overview among them."""
        return 1 + (self.crops[0] * self.crops[1] if self.crops else 0)

    @property
    def rows(self):
        """Feature rows: those of the overview, and each line with its newline; a lone overview has one newline."""
        height, width = self.shrunk or self.canvas
        return SIDE**2 + (height * (width + 1) if self.crops else 1)


WIDE = Image((24, 30), (2, 2), (8, 10), (1, 0))
FLAT = Image((12, 36), (1, 2), (3, 10), (1, 0))
HIGH = Image((36, 14), (2, 1), (10, 3), (0, 1))
SEVERAL = [[WIDE, FLAT], [HIGH]]
SHRUNK = [[replace(WIDE, shrunk=(6, 7))], [HIGH]]  # where two crops at most are kept, 8 x 10 tokens are too many
ONE = [[WIDE], [Image((12, 36), None), Image((36, 14), None)], [HIGH]]  # several images of a prompt are not cropped


def _llava(config_class, model_class, vision, language, **more):
    config = config_class(
        vision_config={**vision, "image_size": SIDE * PATCH},
        text_config=text(model_type=language),
        image_token_index=IMAGE,
        image_grid_pinpoints=PINS,
        **more,
    )
    return alive(model_class(config))


def llava_next():
    from transformers import LlavaNextConfig, LlavaNextForConditionalGeneration

    return _llava(LlavaNextConfig, LlavaNextForConditionalGeneration, CLIP, "llama")


def llava_next_video():
    from transformers import LlavaNextVideoConfig, LlavaNextVideoForConditionalGeneration

    more = {"video_token_index": VIDEO}
    return _llava(LlavaNextVideoConfig, LlavaNextVideoForConditionalGeneration, CLIP, "llama", **more)


def llava_onevision(most=9):
    from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration

    config = LlavaOnevisionConfig(
        vision_config={**SIGLIP, "image_size": SIDE * PATCH},
        text_config=text(model_type="qwen2"),
        image_token_index=IMAGE,
        video_token_index=VIDEO,
        image_grid_pinpoints=PINS,
        vision_aspect_ratio=f"anyres_max_{most}",
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )
    return alive(LlavaOnevisionForConditionalGeneration(config))


def granite4_vision():
    from transformers import Granite4VisionConfig, Granite4VisionForConditionalGeneration

    vision = {**SIGLIP, "hidden_size": 64, "image_size": SIDE * PATCH, "patch_size": PATCH // 2}
    config = Granite4VisionConfig(
        vision_config=vision,
        text_config=text(),
        qformer_config={
            "model_type": "blip_2_qformer",
            "num_hidden_layers": 1,
            "intermediate_size": 64,
            "cross_attention_frequency": 1,
            "use_qformer_text_input": False,
        },
        image_token_index=IMAGE,
        image_grid_pinpoints=PINS,
        vision_feature_select_strategy="full",
        downsample_rate="1/2",
        deepstack_layer_map=[[-2, 0]],
        spatial_vision_layer=-1,
        spatial_target_layers=[1],
    )
    return alive(Granite4VisionForConditionalGeneration(config))


def packed(images, *, count_images=False):
    """Inputs of crops [I, most, 3, h, w], padded with empty ones."""

    def inputs(model, which):
        every = [(100 * number + 10 * at, one) for number in which for at, one in enumerate(images[number])]
        side = SIDE * PATCH
        pixels = torch.zeros(len(every), max(one.count for _, one in every), 3, side, side)
        for place, (seed, one) in enumerate(every):
            pixels[place, : one.count] = noise(one.count, 3, side, side, seed=seed)
        ids = padded(rows(which, images, lambda one: [IMAGE] * one.rows))
        call = {**ids, "pixel_values": pixels, "image_sizes": torch.tensor([one.size for _, one in every])}
        if count_images:
            call["batch_num_images"] = torch.tensor([len(images[number]) for number in which])
        return call

    return inputs


def laid_out(images, prompts):
    """Where each pixel lies: in its overview, or in the map of its crops without padding."""

    def locate(call):
        side = SIDE * PATCH
        where = torch.full((*call["pixel_values"].shape, 2), float("nan"))
        step = (torch.arange(side) + 0.5) / PATCH  # in tokens
        inner = torch.stack(torch.broadcast_tensors(step[:, None], step[None]), -1)
        for at, one in enumerate(one for number in prompts for one in images[number]):
            where[at, 0] = inner / SIDE
            for crop in range(one.count - 1):
                corner = torch.tensor(divmod(crop, one.crops[1])) * SIDE - torch.tensor(one.offset)
                where[at, 1 + crop] = (inner + corner) / torch.tensor(one.canvas)
        return where

    return locate


CASES = {
    "llava_next": Case(llava_next, packed(SEVERAL), locate=laid_out(SEVERAL, (0, 1))),
    "llava_next_video": Case(llava_next_video, packed(SEVERAL), locate=laid_out(SEVERAL, (0, 1))),
    "granite4_vision": Case(granite4_vision, packed(SEVERAL), locate=laid_out(SEVERAL, (0, 1))),
    "llava_onevision": Case(
        llava_onevision, packed(ONE, count_images=True), (0, 1, 2), locate=laid_out(ONE, (0, 1, 2)), images=4
    ),
    "llava_onevision, shrunk": Case(
        lambda: llava_onevision(2), packed(SHRUNK), locate=laid_out(SHRUNK, (0, 1)), images=2
    ),
}
