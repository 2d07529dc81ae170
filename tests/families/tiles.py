"""Families whose images are tiles of one size."""

import inspect

import torch
from families.tiny import (
    BEGIN,
    BOS,
    CLIP,
    END,
    IMAGE,
    MARK,
    SIGLIP,
    TILE,
    VIDEO,
    VISION,
    VOCABULARY,
    Case,
    alive,
    noise,
    padded,
    picture,
    rows,
    text,
    words,
)

SINGLE = [[1, 1], [1]]  # tiles of each image of each prompt
SEVERAL = [[3, 1], [2]]


def tiles(marks, images=SEVERAL, size=(24, 24), **types):
    """Inputs of tiles [T, 3, h, w]; ``marks`` gives the ids of an image of so many tiles."""

    def inputs(model, which):
        pixels = picture(which, images, lambda count, seed: noise(count, 3, *size, seed=seed))
        return {**padded(rows(which, images, marks), **types), "pixel_values": pixels}

    return inputs


def run(count, before=(BEGIN,), after=(END,)):
    """All tokens of an image in one run."""
    return lambda tiles: [*before, *[IMAGE] * count * tiles, *after]


def marked(count):
    """A marker before each tile, and another before the whole image, the last tile."""

    def marks(tiles):
        ids = [BEGIN]
        for tile in range(tiles - 1):
            ids += [TILE + tile, *[IMAGE] * count]
        return [*ids, MARK, *[IMAGE] * count, END]

    return marks


def llava():
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    config = LlavaConfig(vision_config=CLIP, text_config=text(model_type="llama"), image_token_index=IMAGE)
    return alive(LlavaForConditionalGeneration(config))


def llava_siglip():
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    config = LlavaConfig(
        vision_config=SIGLIP,
        text_config=text(model_type="llama"),
        image_token_index=IMAGE,
        vision_feature_select_strategy="full",
    )
    return alive(LlavaForConditionalGeneration(config))


def video_llava():
    from transformers import VideoLlavaConfig, VideoLlavaForConditionalGeneration

    config = VideoLlavaConfig(
        vision_config=CLIP,
        text_config=text(model_type="llama"),
        image_token_index=IMAGE,
        video_token_index=VIDEO,
    )
    return alive(VideoLlavaForConditionalGeneration(config))


def old_pixels(inputs):
    """The same inputs, with images under the name that Video-LLaVA took up to transformers 5.20."""

    def renamed(model, which):
        call = inputs(model, which)
        known = inspect.signature(model.model.get_image_features).parameters
        name = "pixel_values" if "pixel_values" in known else "pixel_values_images"
        return {name: call.pop("pixel_values"), **call}

    return renamed


def vipllava():
    from transformers import VipLlavaConfig, VipLlavaForConditionalGeneration

    config = VipLlavaConfig(
        vision_config=CLIP,
        text_config=text(model_type="llama"),
        image_token_index=IMAGE,
        vision_feature_layers=[-2, -3],
        vision_feature_layer=[-2, -3],
    )
    return alive(VipLlavaForConditionalGeneration(config))


def aya_vision():
    from transformers import AyaVisionConfig, AyaVisionForConditionalGeneration

    language = text(model_type="cohere2", sliding_window=512, layer_types=["sliding_attention", "full_attention"])
    config = AyaVisionConfig(vision_config=SIGLIP, text_config=language, image_token_index=IMAGE, downsample_factor=2)
    return alive(AyaVisionForConditionalGeneration(config))


def cohere2_vision():
    from transformers import Cohere2VisionConfig, Cohere2VisionForConditionalGeneration

    language = text(model_type="cohere2", sliding_window=512, layer_types=["sliding_attention", "full_attention"])
    config = Cohere2VisionConfig(
        vision_config=SIGLIP,
        text_config=language,
        image_token_id=IMAGE,
        downsample_factor=2,
        alignment_intermediate_size=64,
    )
    return alive(Cohere2VisionForConditionalGeneration(config))


def internvl():
    from transformers import InternVLConfig, InternVLForConditionalGeneration

    vision = {**VISION, "model_type": "internvl_vision", "image_size": [24, 24], "patch_size": [4, 4]}
    config = InternVLConfig(
        vision_config=vision,
        text_config=text(model_type="qwen2"),
        image_token_id=IMAGE,
        image_seq_length=9,
        downsample_ratio=0.5,
    )
    return alive(InternVLForConditionalGeneration(config))


def qianfan_ocr():
    from transformers import QianfanOCRConfig, QianfanOCRForConditionalGeneration

    vision = {**VISION, "image_size": [24, 24], "patch_size": [4, 4]}
    config = QianfanOCRConfig(
        vision_config=vision,
        text_config=text(model_type="qwen3", head_dim=12),
        image_token_id=IMAGE,
        image_seq_length=9,
        downsample_ratio=0.5,
    )
    return alive(QianfanOCRForConditionalGeneration(config))


def gemma3():
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    language = text(
        head_dim=12,
        sliding_window=24,
        query_pre_attn_scalar=16,
        layer_types=["sliding_attention", "full_attention"],
    )
    config = Gemma3Config(
        vision_config=SIGLIP,
        text_config=language,
        image_token_index=IMAGE,
        boi_token_index=BEGIN,
        eoi_token_index=END,
        mm_tokens_per_image=9,
    )
    return alive(Gemma3ForConditionalGeneration(config))


def blocks(model, visual, prompt):
    """Gemma 3: tokens of one image see each other; every other layer looks back over a window."""
    i, j = torch.arange(len(visual))[:, None], torch.arange(len(visual))[None]
    begins = visual & ~torch.cat([torch.zeros(1, dtype=torch.bool), visual[:-1]])
    block = torch.where(visual, begins.cumsum(0), -1)
    sees = (j <= i) | ((block[:, None] == block[None]) & visual[:, None])
    near = sees & (i - j < model.config.text_config.sliding_window)
    return {"full_attention": sees[None, None], "sliding_attention": near[None, None]}


def paligemma():
    from transformers import PaliGemmaConfig, PaliGemmaForConditionalGeneration

    config = PaliGemmaConfig(
        vision_config={**SIGLIP, "projection_dim": 48},
        text_config=text(model_type="gemma", head_dim=12),
        image_token_index=IMAGE,
        projection_dim=48,
    )
    return alive(PaliGemmaForConditionalGeneration(config))


def image_first(model, which):
    """Inputs of PaliGemma: one image, then text that all of the prompt sees."""
    made = [[IMAGE] * 36 + [BOS, *words(6 + 3 * number, number)] for number in which]
    pixels = picture(which, [[1], [1]], lambda count, seed: noise(count, 3, 24, 24, seed=seed))
    return {**padded(made, token_type_ids=0), "pixel_values": pixels}


def prefix(model, visual, prompt):
    """PaliGemma: the prompt sees all of itself."""
    i, j = torch.arange(len(visual))[:, None], torch.arange(len(visual))[None]
    return ((j <= i) | ((i < prompt) & (j < prompt)))[None, None]


def llama4():
    from transformers import Llama4Config, Llama4ForConditionalGeneration

    vision = {
        **VISION,
        "intermediate_size": 128,
        "vision_output_dim": 40,
        "pixel_shuffle_ratio": 0.5,
        "projector_input_dim": 40,
        "projector_output_dim": 40,
    }
    language = text(
        head_dim=12,
        intermediate_size_mlp=64,
        num_local_experts=2,
        num_experts_per_tok=1,
        interleave_moe_layer_step=2,
        attention_chunk_size=512,
        no_rope_layer_interval=4,
    )
    config = Llama4Config(
        vision_config=vision,
        text_config=language,
        image_token_index=IMAGE,
        boi_token_index=BEGIN,
        eoi_token_index=END,
    )
    return alive(Llama4ForConditionalGeneration(config))


def ovis2():
    from transformers import Ovis2Config, Ovis2ForConditionalGeneration

    config = Ovis2Config(
        vision_config={**VISION, "hidden_stride": 2, "vocab_size": 48, "num_visual_indicator_tokens": 5},
        text_config=text(model_type="qwen2"),
        image_token_id=IMAGE,
        visual_indicator_token_ids=[50, 51, 52, 53, 54],
        vocab_size=VOCABULARY,
        hidden_size=48,
    )
    return alive(Ovis2ForConditionalGeneration(config))


def janus():
    from transformers import JanusConfig, JanusForConditionalGeneration

    quantizer = {
        "embed_dim": 8,
        "num_embeddings": 16,
        "double_latent": False,
        "latent_channels": 8,
        "num_patches": 6,
        "base_channels": 32,
        "channel_multiplier": [1, 1],
        "num_res_blocks": 1,
        "projection_dim": 48,
        "image_token_embed_dim": 48,
    }
    vision = {**VISION, "mlp_ratio": 2.0, "projection_dim": 48, "depth": 2}
    config = JanusConfig(
        vision_config=vision, vq_config=quantizer, text_config=text(model_type="llama"), image_token_id=IMAGE
    )
    return alive(JanusForConditionalGeneration(config))


def deepseek_vl():
    from transformers import DeepseekVLConfig, DeepseekVLForConditionalGeneration

    config = DeepseekVLConfig(vision_config=SIGLIP, text_config=text(model_type="llama"), image_token_id=IMAGE)
    return alive(DeepseekVLForConditionalGeneration(config))


def got_ocr2():
    from transformers import GotOcr2Config, GotOcr2ForConditionalGeneration

    vision = {
        **{name: VISION[name] for name in ("hidden_size", "num_attention_heads", "patch_size")},
        "num_hidden_layers": 2,
        "output_channels": 16,
        "mlp_dim": 40,
        "image_size": 64,
        "window_size": 4,
        "global_attn_indexes": [1],
    }
    config = GotOcr2Config(
        vision_config=vision, text_config=text(model_type="qwen2"), image_token_index=IMAGE, image_seq_length=16
    )
    return alive(GotOcr2ForConditionalGeneration(config))


def _idefics3(config_class, model_class):
    config = config_class(
        vision_config=VISION,
        text_config=text(model_type="llama"),
        image_token_id=IMAGE,
        scale_factor=2,
        pad_token_id=0,
    )
    return alive(model_class(config))


def idefics3():
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration

    return _idefics3(Idefics3Config, Idefics3ForConditionalGeneration)


def smolvlm():
    from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration

    return _idefics3(SmolVLMConfig, SmolVLMForConditionalGeneration)


def padded_tiles(model, which):
    """Inputs of Idefics3: [B, T, 3, h, w], the tiles of all images of a prompt, padded with empty ones."""
    most = max(sum(SEVERAL[number]) for number in which)
    pixels = torch.zeros(len(which), most, 3, 24, 24)
    for at, number in enumerate(which):
        mine = picture([number], SEVERAL, lambda count, seed: noise(count, 3, 24, 24, seed=seed))
        pixels[at, : len(mine)] = mine
    there = pixels.abs().sum(2).gt(0).long()
    ids = padded(rows(which, SEVERAL, marked(9)))
    return {**ids, "pixel_values": pixels, "pixel_attention_mask": there}


CASES = {
    "llava": Case(llava, tiles(run(36), SINGLE)),
    "llava, SigLIP": Case(llava_siglip, tiles(run(36), SINGLE)),
    "video_llava": Case(video_llava, old_pixels(tiles(run(36), SINGLE))),
    "vipllava": Case(vipllava, tiles(run(36), SINGLE)),
    "aya_vision": Case(aya_vision, tiles(marked(9))),
    "cohere2_vision": Case(cohere2_vision, tiles(marked(9))),
    "internvl": Case(internvl, tiles(run(9))),
    "qianfan_ocr": Case(qianfan_ocr, tiles(run(9))),
    "gemma3": Case(gemma3, tiles(run(9), SINGLE, token_type_ids=1), mask=blocks),
    "paligemma": Case(paligemma, image_first, mask=prefix, images=2),
    "llama4": Case(llama4, tiles(run(9))),
    "ovis2": Case(ovis2, tiles(run(9, (50,), (51,)))),
    "janus": Case(janus, tiles(run(36), SINGLE)),
    "deepseek_vl": Case(deepseek_vl, tiles(run(36), SINGLE)),
    "got_ocr2": Case(got_ocr2, tiles(run(16), SINGLE, size=(64, 64))),
    "idefics3": Case(idefics3, padded_tiles),
    "smolvlm": Case(smolvlm, padded_tiles),
}
