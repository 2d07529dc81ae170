"""Families with a way of their own from pixels to tokens."""

import torch
from einops import rearrange
from families.native import GRIDS
from families.tiles import SEVERAL, SINGLE, blocks, marked, padded_tiles, run, tiles
from families.tiny import (
    BEGIN,
    BOS,
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
)


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


def _gemma4(config_class, model_class, vision, blocks, **language):
    config = config_class(
        vision_config=vision,
        text_config=text(
            head_dim=12,
            global_head_dim=16,
            sliding_window=24,
            layer_types=["sliding_attention", "full_attention"],
            use_bidirectional_attention=blocks,
            **language,
        ),
        audio_config=None,
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        boi_token_id=BEGIN,
        eoi_token_id=END,
        audio_token_id=TILE,
    )
    return alive(model_class(config))


def gemma4(blocks=None):
    from transformers import Gemma4Config, Gemma4ForConditionalGeneration

    vision = {
        **VISION,
        "num_key_value_heads": 4,
        "head_dim": 8,
        "pooling_kernel_size": 2,
        "position_embedding_size": 16,
    }
    layers = {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": VOCABULARY}
    return _gemma4(Gemma4Config, Gemma4ForConditionalGeneration, vision, blocks, **layers)


def gemma4_unified():
    from transformers import Gemma4UnifiedConfig, Gemma4UnifiedForConditionalGeneration

    vision = {
        "patch_size": 2,
        "pooling_kernel_size": 2,
        "mm_embed_dim": 48,
        "mm_posemb_size": 16,
        "output_proj_dims": 48,
    }
    return _gemma4(Gemma4UnifiedConfig, Gemma4UnifiedForConditionalGeneration, vision, "vision")


def placed(merge):
    """Inputs of Gemma 4: patches [I, P, pixels] with (x, y), padded to the most."""

    def inputs(model, which):
        grids = [(100 * number + 10 * at, grid) for number in which for at, grid in enumerate(GRIDS[number])]
        pixels, at = torch.zeros(len(grids), 60, 48), torch.full((len(grids), 60, 2), -1)
        for image, (seed, (height, width)) in enumerate(grids):
            pixels[image, : height * width] = noise(height * width, 48, seed=seed)
            y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
            at[image, : height * width] = torch.stack([x, y], -1).flatten(0, 1)

        def marks(grid):
            return [BEGIN, *[IMAGE] * (grid[0] * grid[1] // merge**2), END]

        ids = padded(rows(which, GRIDS, marks), mm_token_type_ids=1)
        return {**ids, "pixel_values": pixels, "image_position_ids": at}

    return inputs


def at_place(call):
    """[I, P, pixels, 2] where each patch lies, NaN in padding."""
    at = call["image_position_ids"].float()
    size = at.amax(1, keepdim=True) + 1
    where = torch.where(at >= 0, (at + 0.5) / size, torch.nan).flip(-1)
    return where[:, :, None].expand(*call["pixel_values"].shape, 2)


def blocks_of_near(model, visual, prompt):
    """Gemma 4: tokens of one image see each other only in layers that look back over a window."""
    full = torch.ones(len(visual), len(visual), dtype=torch.bool).tril()
    return {**blocks(model, visual, prompt), "full_attention": full[None, None]}


def fuyu():
    from transformers import FuyuConfig, FuyuForCausalLM

    config = FuyuConfig(
        patch_size=4, text_config=text(model_type="persimmon", num_key_value_heads=4), image_token_id=IMAGE
    )
    return alive(FuyuForCausalLM(config))


def lines(model, which):
    """Inputs of Fuyu: patches [P, pixels] of all images, a marker after each line."""

    def marks(grid):
        return [*[one for _ in range(grid[0]) for one in (*[IMAGE] * grid[1], MARK)], BOS]

    pixels = picture(which, GRIDS, lambda grid, seed: noise(grid[0] * grid[1], 48, seed=seed))
    return {**padded(rows(which, GRIDS, marks)), "pixel_values": pixels}


def in_lines(prompts):
    """[P, pixels, 2] where each patch of these prompts lies."""

    def locate(call):
        parts = []
        for height, width in (grid for number in prompts for grid in GRIDS[number]):
            y, x = (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width
            parts.append(torch.stack(torch.meshgrid(y, x, indexing="ij"), -1).flatten(0, 1))
        return torch.cat(parts)[:, None].expand(*call["pixel_values"].shape, 2)

    return locate


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


def emu3():
    from transformers import Emu3Config, Emu3ForConditionalGeneration

    codes = {f"<|visual token {code:06}|>": 41 - code for code in range(16)}
    config = Emu3Config(
        vq_config={**CODES, "codebook_size": 16, "hidden_size": 32},
        text_config=text(attention_dropout=0.0),
        vocabulary_map={"<image>": IMAGE, "<|extra_200|>": MARK, **codes},
    )
    return alive(Emu3ForConditionalGeneration(config))


SIZES = [[(16, 24), (12, 16)], [(24, 8)]]  # pixels of each image of each prompt


def with_line_ends(model, which):
    """Inputs of Emu3: images [I, 3, H, W] padded to the largest; every line of tokens has an end."""

    def marks(size):
        return [BEGIN, *[IMAGE] * (size[0] // 4) * (size[1] // 4 + 1), END]

    sizes = [(100 * number + 10 * at, size) for number in which for at, size in enumerate(SIZES[number])]
    pixels = torch.zeros(len(sizes), 3, 24, 24)
    for at, (seed, (height, width)) in enumerate(sizes):
        pixels[at, :, :height, :width] = noise(3, height, width, seed=seed)
    ids = padded(rows(which, SIZES, marks))
    return {**ids, "pixel_values": pixels, "image_sizes": torch.tensor([size for _, size in sizes])}


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


def molmo2():
    from transformers import Molmo2Config, Molmo2ForConditionalGeneration

    small = {"num_key_value_heads": 4, "head_dim": 8}
    config = Molmo2Config(
        vision_config={**VISION, **small, "image_size": [24, 24]},
        adapter_config={
            **small,
            "hidden_size": 32,
            "num_attention_heads": 4,
            "intermediate_size": 40,
            "text_hidden_size": 48,
            "vision_feature_layer": [2, 1],
        },
        text_config=text(head_dim=12, additional_vocab_size=0),
        image_patch_id=IMAGE,
        image_start_token_id=BEGIN,
        low_res_image_start_token_id=TILE,
        image_end_token_id=END,
    )
    return alive(Molmo2ForConditionalGeneration(config))


COLUMNS = [[11, 0], [9]]  # patches across the crops of each image of each prompt; there are 6 down; 0: no crops


def pooling(model, which):
    """Inputs of Molmo2: crops [C, 36, pixels], and which patches each token pools: a low view, then the crops."""
    pixels, pooled, grids = [], [], []
    for number in which:
        for at, columns in enumerate(COLUMNS[number]):
            y, x = torch.meshgrid(torch.arange(6), torch.arange(12), indexing="ij")
            crops = torch.where(x < columns, (1 + x // 6) * 36 + 6 * y + x % 6, -1)[:, : 2 * -(-columns // 2)]
            start = 36 * sum(map(len, pixels))
            for view in (torch.arange(36).view(6, 6), crops):
                tokens = rearrange(view, "(h a) (w b) -> (h w) (a b)", a=2, b=2)
                pooled.append(torch.where(tokens < 0, -1, tokens + start))
            pixels.append(noise(3 if columns else 1, 36, 48, seed=100 * number + 10 * at))
            grids.append([3, 3, 3 * bool(columns), -(-columns // 2)])
    ids = padded(rows(which, COLUMNS, _views), mm_token_type_ids=1)
    call = {"image_token_pooling": torch.cat(pooled), "image_grids": torch.tensor(grids)}
    return {**ids, **call, "pixel_values": torch.cat(pixels)}


def _views(columns):
    low, line = [TILE, *[IMAGE] * 9, END], [*[IMAGE] * -(-columns // 2), MARK]
    return [*low, BEGIN, *line * 3, END] if columns else low


def in_views(call):
    """[C, 36, pixels, 2] where each patch lies: in its low view, or in the map of its crops."""
    parts = []
    y, x = torch.meshgrid(torch.arange(6) + 0.5, torch.arange(12) + 0.5, indexing="ij")
    for columns in call["image_grids"][:, 3].tolist():
        parts.append(torch.stack([y, x], -1)[None, :, :6] / 6)
        if columns:
            wide = torch.stack([y / 6, x / (2 * columns)], -1)
            parts.append(rearrange(wide, "h (crop w) c -> crop h w c", crop=2))
    return torch.cat(parts).flatten(1, 2)[:, :, None].expand(*call["pixel_values"].shape, 2)


def one_block(model, visual, prompt):
    """Molmo2: tokens of all images see each other."""
    causal = torch.ones(len(visual), len(visual), dtype=torch.bool).tril()
    return (causal | (visual[:, None] & visual[None]))[None, None]


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


SAM = {
    "hidden_size": 32,
    "output_channels": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "mlp_dim": 40,
    "image_size": 48,
    "patch_size": 4,
    "window_size": 4,
    "global_attn_indexes": [1],
    "downsample_channels": [24, 32],
}
EXPERTS = {
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "mlp_layer_types": ["dense", "sparse"],
}


def unlimited_ocr():
    from transformers import UnlimitedOcrConfig, UnlimitedOcrForConditionalGeneration

    clip = {**VISION, "image_size": 12, "patch_size": 4}
    config = UnlimitedOcrConfig(
        vision_config={"sam_config": SAM, "encoder_config": clip},
        text_config=text(num_key_value_heads=4, sliding_window=16, **EXPERTS),
        image_token_id=IMAGE,
    )
    model = UnlimitedOcrForConditionalGeneration(config)
    return alive(model)


def deepseek_ocr2():
    from transformers import DeepseekOcr2Config, DeepseekOcr2ForConditionalGeneration

    queries = {**VISION, "num_key_value_heads": 4}
    config = DeepseekOcr2Config(
        vision_config={"sam_config": SAM, "encoder_config": queries},
        text_config=text(num_key_value_heads=4, **EXPERTS),
        image_token_id=IMAGE,
    )
    return alive(DeepseekOcr2ForConditionalGeneration(config))


CUTS = [[(2, 1), (1, 1)], [(1, 2)]]  # crops (across, down) of each image of each prompt; (1, 1): none


def cut_pages(model, which):
    """Inputs of the OCR models: pages of 48 pixels, crops of 32."""
    grids = [grid for number in which for grid in CUTS[number]]
    counts = [across * down * (across * down > 1) for across, down in grids]
    local = picture(which, CUTS, lambda grid, seed: noise(grid[0] * grid[1], 3, 32, 32, seed=seed + 5))
    return {
        "pixel_values": picture(which, CUTS, lambda grid, seed: noise(1, 3, 48, 48, seed=seed)),
        "pixel_values_local": local[[one for across, down in grids for one in [across * down > 1] * across * down]],
        "num_local_patches": counts,
        "patches_grid": [list(grid) for grid in grids],
    }


def lined_pages(model, which):
    """Inputs of Unlimited-OCR: lines of 3 tokens a page and 2 a crop, all with an end."""

    def marks(grid):
        across, down = grid
        crops = 2 * down * (2 * across + 1) if across * down > 1 else 0
        return [BEGIN, *[IMAGE] * (crops + 3 * 4 + 1)]

    return {**padded(rows(which, CUTS, marks)), **cut_pages(model, which)}


def latent_pages(model, which):
    """Inputs of DeepSeek-OCR 2: 144 latents a view."""

    def marks(grid):
        across, down = grid
        return [BEGIN, *[IMAGE] * (144 * (1 + across * down * (across * down > 1)) + 1)]

    call = cut_pages(model, which)
    del call["patches_grid"]
    return {**padded(rows(which, CUTS, marks)), **call}


def in_pages(call):
    """Where each pixel of pages and crops lies."""
    parts, whole = [], (torch.arange(48) + 0.5) / 48
    page = torch.stack(torch.meshgrid(whole, whole, indexing="ij"), -1).expand(*call["pixel_values"].shape, 2)
    for across, down in call["patches_grid"]:
        if across * down > 1:
            y, x = (torch.arange(32 * down) + 0.5) / (32 * down), (torch.arange(32 * across) + 0.5) / (32 * across)
            at = torch.stack(torch.meshgrid(y, x, indexing="ij"), -1)
            parts.append(rearrange(at, "(down h) (across w) c -> (down across) 1 h w c", h=32, w=32))
    return [page, torch.cat(parts).expand(*call["pixel_values_local"].shape, 2)]


def nemotron_h_omni():
    from transformers import AutoModelForImageTextToText, NemotronH_Omni_Reasoning_V3_Config

    vision = {
        **{name: VISION[name] for name in ("hidden_size", "num_hidden_layers", "num_attention_heads", "patch_size")},
        "model_type": "radio",
        "mlp_ratio": 1.25,
        "image_size": 24,
        "max_img_size": 48,
        "num_cls_tokens": 2,
        "num_registers": 3,
        "summary_idxs": [0],
        "video_temporal_patch_size": 2,
    }
    language = text(
        model_type="nemotron_h",
        layers_block_type=["linear_attention", "full_attention", "mlp"],
        head_dim=12,
        ssm_state_size=8,
        mamba_num_heads=4,
        mamba_head_dim=12,
        n_groups=2,
        chunk_size=8,
    )
    del language["num_hidden_layers"]
    config = NemotronH_Omni_Reasoning_V3_Config(
        vision_config=vision,
        text_config=language,
        audio_config=None,
        projector_hidden_size=40,
        vision_hidden_size=32,
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        audio_token_id=TILE,
    )
    model = alive(AutoModelForImageTextToText.from_config(config))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("dt_bias"):
                weight.zero_()  # small time steps are clamped when a prompt is read, and not when one id is added
    return model


def packed_patches(model, which):
    """Inputs of Nemotron Omni: patches [P, pixels] of all images in reading order."""
    pixels = picture(which, GRIDS, lambda grid, seed: noise(grid[0] * grid[1], 48, seed=seed))
    ids = padded(rows(which, GRIDS, lambda grid: [BEGIN, *[IMAGE] * (grid[0] * grid[1] // 4), END]))
    return {**ids, "pixel_values": pixels, "image_grid_hw": torch.tensor([g for n in which for g in GRIDS[n]])}


CASES = {
    "step3p7": Case(step3p7, step_views),
    "deepseek_vl_hybrid": Case(deepseek_vl_hybrid, two_sizes),
    "shieldgemma2": Case(shieldgemma2, tiles(run(9), SINGLE, token_type_ids=1), mask=blocks),
    "gemma4": Case(gemma4, placed(2), locate=at_place),
    "gemma4, blocks": Case(lambda: gemma4("vision"), placed(2), mask=blocks_of_near, locate=at_place),
    "gemma4_unified": Case(gemma4_unified, placed(1), mask=blocks, locate=at_place),
    "fuyu": Case(fuyu, lines, locate=in_lines((0, 1))),
    "chameleon": Case(chameleon, tiles(run(36), SINGLE)),
    "emu3": Case(emu3, with_line_ends),
    "pp_chart2table": Case(pp_chart2table, tiles(run(16), SINGLE, size=(64, 64))),
    "idefics2": Case(idefics2, padded_images, images=6),
    "aria": Case(aria, masked_tiles),
    "molmo2": Case(molmo2, pooling, mask=one_block, locate=in_views),
    "granite_docling": Case(granite_docling, pages(fine=False)),
    "granite_docling, fine": Case(granite_docling, pages(fine=True)),
    "unlimited_ocr": Case(unlimited_ocr, lined_pages, locate=in_pages),
    "deepseek_ocr2": Case(deepseek_ocr2, latent_pages),
    "nemotron_h_omni": Case(nemotron_h_omni, packed_patches, locate=in_lines((0, 1))),
}
