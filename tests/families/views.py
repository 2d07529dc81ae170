"""Families that see an image as a whole and in crops, each view a rectangle of its own."""

import torch
from einops import rearrange
from families.tiny import BEGIN, END, IMAGE, MARK, TILE, VISION, Case, alive, noise, padded, picture, rows, text


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


CASES = {
    "step3p7": Case(step3p7, step_views),
    "molmo2": Case(molmo2, pooling, mask=one_block, locate=in_views),
    "unlimited_ocr": Case(unlimited_ocr, lined_pages, locate=in_pages),
}
