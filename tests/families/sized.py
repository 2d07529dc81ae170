"""More families whose images have a size of their own: padded to one length, or with an end to each line."""

from math import prod

import torch
from families.native import GRIDS
from families.squares import CODES
from families.tiles import blocks
from families.tiny import (
    BEGIN,
    BOS,
    END,
    IMAGE,
    MARK,
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


def inkling():
    from transformers import InklingConfig, InklingForConditionalGeneration

    language = text(
        unpadded_vocab_size=VOCABULARY,
        head_dim=12,
        swa_num_attention_heads=4,
        swa_num_key_value_heads=2,
        swa_head_dim=12,
        sliding_window_size=32,
        d_rel=4,
        rel_extent=64,
        layer_types=["hybrid_sliding", "hybrid"],
        mlp_layer_types=["dense", "sparse"],
        moe_intermediate_size=32,
        n_routed_experts=4,
        num_experts_per_tok=2,
        logits_mup_width_multiplier=1.0,  # large logits, which tell more
    )
    config = InklingConfig(
        text_config=language,
        vision_config={"patch_size": 4, "num_hidden_layers": 4},
        audio_config={"n_mel_bins": 8, "mel_vocab_size": 4},
        image_token_id=IMAGE,
        image_bos_token_id=BEGIN,
        audio_token_id=TILE,
    )
    return alive(InklingForConditionalGeneration(config))


ODD = [[(10, 14), (8, 8)], [(5, 11)]]  # pixels of each image of each prompt


def past_the_edge(size):
    """(lines, patches of a line) of an image; every line goes past its right edge."""
    return -(-size[0] // 4), size[1] // 4 + 1


def squares_with_padding(model, which):
    """Inputs of Inkling: squares [P, 2, h, w, 3], one a token, twice the same; what is over is below every pixel."""

    def squares(size, seed):
        lines, columns = past_the_edge(size)
        whole = torch.full((lines * 4, columns * 4, 3), -0.1)
        whole[: size[0], : size[1]] = noise(*size, 3, seed=seed).abs()
        parts = whole.view(lines, 4, columns, 4, 3).transpose(1, 2).flatten(0, 1)
        return parts[:, None].expand(-1, 2, -1, -1, -1)

    ids = padded(rows(which, ODD, lambda size: [BEGIN, *[IMAGE] * prod(past_the_edge(size))]))
    return {**ids, "pixel_values": picture(which, ODD, squares)}


def in_squares(call):
    """[P, 2, h, w, 3, 2] where each square lies."""
    parts = []
    for lines, columns in (past_the_edge(size) for prompt in ODD for size in prompt):
        y, x = (torch.arange(lines) + 0.5) / lines, (torch.arange(columns) + 0.5) / columns
        parts.append(torch.stack(torch.meshgrid(y, x, indexing="ij"), -1).flatten(0, 1))
    return torch.cat(parts)[:, None, None, None, None].expand(*call["pixel_values"].shape, 2)


CASES = {
    "gemma4": Case(gemma4, placed(2), locate=at_place),
    "gemma4, blocks": Case(lambda: gemma4("vision"), placed(2), mask=blocks_of_near, locate=at_place),
    "gemma4_unified": Case(gemma4_unified, placed(1), mask=blocks, locate=at_place),
    "fuyu": Case(fuyu, lines, locate=in_lines((0, 1)), since="5.21"),
    "emu3": Case(emu3, with_line_ends),
    "inkling_mm_model": Case(inkling, squares_with_padding, locate=in_squares),
    "nemotron_h_omni": Case(nemotron_h_omni, packed_patches, locate=in_lines((0, 1))),
}
