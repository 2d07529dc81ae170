"""Families that sum up every view in latents, which have no place."""

import torch
from families.tiles import SEVERAL, padded_tiles, run, tiles
from families.tiny import BEGIN, IMAGE, MARK, VISION, Case, alive, padded, rows, text
from families.views import CUTS, EXPERTS, SAM, cut_pages

LATENTS = 10


def idefics2():
    from transformers import Idefics2Config, Idefics2ForConditionalGeneration

    resampler = {
        "hidden_size": 48,
        "resampler_n_latents": LATENTS,
        "resampler_depth": 2,
        "resampler_n_heads": 4,
        "resampler_head_dim": 12,
        "num_key_value_heads": 2,
    }
    config = Idefics2Config(
        vision_config=VISION,
        perceiver_config=resampler,
        text_config=text(model_type="mistral", head_dim=12, sliding_window=None),
        image_token_id=IMAGE,
    )
    return alive(Idefics2ForConditionalGeneration(config))


def padded_images(model, which):
    """Inputs of Idefics2: [B, I, 3, h, w], images of a prompt padded with empty ones; one is half as high."""
    call = padded_tiles(model, which)
    ids = padded(rows(which, SEVERAL, lambda count: [BEGIN, *[*[IMAGE] * LATENTS, MARK] * count]))
    there = call["pixel_attention_mask"].clone()
    for at, number in enumerate(which):
        there[at, 0, 12:] *= number == 0
    return {**call, **ids, "pixel_values": call["pixel_values"] * there[:, :, None], "pixel_attention_mask": there}


def aria():
    from transformers import AriaConfig, AriaForConditionalGeneration

    config = AriaConfig(
        vision_config={"model_type": "idefics3_vision", **VISION},
        text_config=text(moe_num_experts=4, moe_topk=2, moe_num_shared_experts=1),
        image_token_index=IMAGE,
        projector_patch_to_query_dict={36: LATENTS},
    )
    return alive(AriaForConditionalGeneration(config))


def masked_tiles(model, which):
    """Inputs of Aria: tiles with a mask of what is no padding."""
    call = tiles(run(LATENTS))(model, which)
    return {**call, "pixel_mask": torch.ones(len(call["pixel_values"]), 24, 24, dtype=torch.bool)}


def deepseek_ocr2():
    from transformers import DeepseekOcr2Config, DeepseekOcr2ForConditionalGeneration

    queries = {**VISION, "num_key_value_heads": 4}
    config = DeepseekOcr2Config(
        vision_config={"sam_config": SAM, "encoder_config": queries},
        text_config=text(num_key_value_heads=4, **EXPERTS),
        image_token_id=IMAGE,
    )
    return alive(DeepseekOcr2ForConditionalGeneration(config))


def latent_pages(model, which):
    """Inputs of DeepSeek-OCR 2: 144 latents a view."""

    def marks(grid):
        across, down = grid
        return [BEGIN, *[IMAGE] * (144 * (1 + across * down * (across * down > 1)) + 1)]

    call = cut_pages(model, which)
    del call["patches_grid"]
    return {**padded(rows(which, CUTS, marks)), **call}


CASES = {
    "idefics2": Case(idefics2, padded_images, images=6),
    "aria": Case(aria, masked_tiles),
    "deepseek_ocr2": Case(deepseek_ocr2, latent_pages),
}
