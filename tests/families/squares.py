"""More families whose images are tiles of one size: two encoders, codes, and two routes."""

import torch
from families.tiles import SEVERAL, SINGLE, blocks, marked, padded_tiles, run, tiles
from families.tiny import BEGIN, END, IMAGE, SIGLIP, VISION, Case, alive, noise, padded, picture, rows, text


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


def pp_chart2table():
    from transformers import AutoModelForImageTextToText, PPChart2TableConfig

    vision = {
        **{name: VISION[name] for name in ("hidden_size", "num_attention_heads", "patch_size")},
        "num_hidden_layers": 2,
        "output_channels": 16,
        "mlp_dim": 40,
        "image_size": 64,
        "window_size": 4,
        "global_attn_indexes": [1],
    }
    config = PPChart2TableConfig(
        vision_config=vision, text_config=text(model_type="qwen2"), image_token_index=IMAGE, image_seq_length=16
    )
    return alive(AutoModelForImageTextToText.from_config(config))


CODES = {
    "embed_dim": 8,
    "latent_channels": 8,
    "double_latent": False,
    "base_channels": 32,
    "channel_multiplier": [1, 1, 1],
    "num_res_blocks": 1,
}


def chameleon():
    from transformers import ChameleonConfig, ChameleonForConditionalGeneration

    names = ["".join(chr(ord("A") + int(digit)) for digit in str(code)) for code in range(16)]
    config = ChameleonConfig(
        vq_config={**CODES, "num_embeddings": 16, "resolution": 24},
        vocabulary_map={"<image>": IMAGE, **{f"IMGIMG{name}Z": 41 - code for code, name in enumerate(names)}},
        **text(),
    )
    return alive(ChameleonForConditionalGeneration(config))


def granite_docling():
    from transformers import GraniteDoclingConfig, GraniteDoclingForConditionalGeneration

    config = GraniteDoclingConfig(
        vision_config={**VISION, "out_hidden_size": 48, "scale_factor": 2, "deepstack_visual_indexes": [0, 1]},
        text_config=text(attention_multiplier=0.3, residual_multiplier=1.0, logits_scaling=1.0),
        image_token_id=IMAGE,
        pad_token_id=0,
        density_router_hidden_size=16,
    )
    return alive(GraniteDoclingForConditionalGeneration(config))


def pages(fine):
    """Inputs of Granite Docling: [B, T, 3, h, w], the tiles of all pages of a prompt, padded; the route is fine."""

    def inputs(model, which):
        call = padded_tiles(model, which)
        there = call["pixel_attention_mask"].flatten(2).any(-1)
        if not fine:
            return {**call, "pixel_attention_mask": there}
        route = torch.ones(len(which), dtype=torch.bool)
        ids = padded(rows(which, SEVERAL, marked(36)))
        return {**call, **ids, "pixel_attention_mask": there, "tile_fine_mask": route}

    return inputs


CASES = {
    "deepseek_vl_hybrid": Case(deepseek_vl_hybrid, two_sizes),
    "shieldgemma2": Case(shieldgemma2, tiles(run(9), SINGLE, token_type_ids=1), mask=blocks),
    "pp_chart2table": Case(pp_chart2table, tiles(run(16), SINGLE, size=(64, 64))),
    "chameleon": Case(chameleon, tiles(run(36), SINGLE)),
    "granite_docling": Case(granite_docling, pages(fine=False), since="5.23"),
    "granite_docling, fine": Case(granite_docling, pages(fine=True), since="5.23"),
}
