"""Families with a way of their own from pixels to tokens."""

from families.tiles import SINGLE, blocks, run, tiles
from families.tiny import BEGIN, END, IMAGE, SIGLIP, TILE, Case, alive, noise, padded, picture, rows, text


def step3p7():
    from transformers import Step3p7Config, Step3p7ForConditionalGeneration

    vision = {
        "hidden_size": 32,
        "mlp_ratio": 1.25,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "image_size": 32,
        "patch_size": 2,
    }
    language = text(
        head_dim=12,
        layer_types=["sliding_attention", "full_attention"],
        sliding_window=512,
        mlp_layer_types=["dense", "sparse"],
        moe_intermediate_size=32,
        n_routed_experts=4,
        num_experts_per_tok=2,
        share_expert_dim=32,
    )
    config = Step3p7Config(vision_config=vision, text_config=language, image_token_id=IMAGE)
    return alive(Step3p7ForConditionalGeneration(config))


STEPS = [[2, 0], [1]]  # crops of each image of each prompt


def step_views(model, which):
    """Inputs of Step 3.7: images of 4 x 4 tokens, crops of 3 x 3 before their image."""

    def marks(crops):
        return [*[one for at in range(crops) for one in (TILE + at, *[IMAGE] * 9)], BEGIN, *[IMAGE] * 16, END]

    pixels = picture(which, STEPS, lambda crops, seed: noise(1, 3, 32, 32, seed=seed))
    local = picture(which, STEPS, lambda crops, seed: noise(crops, 3, 24, 24, seed=seed + 5))
    ids = padded(rows(which, STEPS, marks))
    counts = [crops for number in which for crops in STEPS[number]]
    return {**ids, "pixel_values": pixels, "pixel_values_local": local, "num_local_patches": counts}


def deepseek_vl_hybrid():
    from transformers import DeepseekVLHybridConfig, DeepseekVLHybridForConditionalGeneration

    fine = {
        "model_type": "sam_vision_model",
        "hidden_size": 32,
        "output_channels": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "mlp_dim": 40,
        "image_size": 64,
        "patch_size": 4,
        "window_size": 4,
        "global_attn_indexes": [1],
    }
    config = DeepseekVLHybridConfig(
        vision_config=SIGLIP,
        high_res_vision_config=fine,
        text_config=text(model_type="llama"),
        image_token_id=IMAGE,
    )
    return alive(DeepseekVLHybridForConditionalGeneration(config))


def two_sizes(model, which):
    """Inputs of DeepSeek-VL's hybrid: each image in two sizes."""
    fine = picture(which, SINGLE, lambda count, seed: noise(count, 3, 64, 64, seed=seed + 5))
    return {**tiles(run(36), SINGLE)(model, which), "high_res_pixel_values": fine}


def shieldgemma2():
    from transformers import AutoModelForImageTextToText, ShieldGemma2Config

    language = text(
        model_type="gemma3_text",
        head_dim=12,
        sliding_window=24,
        query_pre_attn_scalar=16,
        layer_types=["sliding_attention", "full_attention"],
    )
    config = ShieldGemma2Config(
        vision_config=SIGLIP,
        text_config=language,
        image_token_index=IMAGE,
        boi_token_index=BEGIN,
        eoi_token_index=END,
        mm_tokens_per_image=9,
    )
    return alive(AutoModelForImageTextToText.from_config(config))


CASES = {
    "step3p7": Case(step3p7, step_views),
    "deepseek_vl_hybrid": Case(deepseek_vl_hybrid, two_sizes),
    "shieldgemma2": Case(shieldgemma2, tiles(run(9), SINGLE, token_type_ids=1), mask=blocks),
}
