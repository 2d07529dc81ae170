"""Families whose language model looks at images through cross-attention."""

import torch
from families.tiny import BOS, IMAGE, Case, alive, noise, text, words

SIDE, PATCH, MOST = 3, 4, 4  # patches along a side of a tile, pixels along a side of a patch, tiles of an image
RATIOS = [[1, 1], [1, 2], [1, 3], [1, 4], [2, 1], [2, 2], [3, 1], [4, 1]]  # (down, across); the config's own
IMAGES = [[(2, 2), (1, 1)], [(1, 3)], [(2, 1), (1, 2)]]  # (down, across) of each image of each prompt


def mllama():
    from transformers import MllamaConfig, MllamaForConditionalGeneration

    vision = {
        "hidden_size": 32,
        "attention_heads": 4,
        "intermediate_size": 40,
        "num_hidden_layers": 3,
        "num_global_layers": 2,
        "image_size": SIDE * PATCH,
        "patch_size": PATCH,
        "max_num_tiles": MOST,
        "vision_output_dim": 64,
        "intermediate_layers_indices": [1],
    }
    language = text(
        num_hidden_layers=4,
        cross_attention_layers=[1, 3],
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    )
    config = MllamaConfig(vision_config=vision, text_config=language, image_token_index=IMAGE)
    model = alive(MllamaForConditionalGeneration(config))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "gate" in name:
                weight.fill_(0.7)  # zero would hide the images
    return model


def tiled(model, which):
    """Inputs of Mllama: pixels [B, I, T, 3, h, w], and which tiles each slot sees: those of the last image."""
    made = []
    for number in which:
        row = [IMAGE, BOS, *words(3 + 3 * number, number)]
        for at in range(1, len(IMAGES[number])):
            row += [IMAGE, *words(3, 30 + at)]
        made.append(row + words(5 - number, 10 + number))
    length, images = max(map(len, made)), max(len(IMAGES[number]) for number in which)
    ids = torch.zeros(len(made), length, dtype=torch.int64)
    mask, kinds = torch.zeros_like(ids), torch.zeros(len(made), images, dtype=torch.int64)
    tiles = torch.zeros(len(made), images, MOST, dtype=torch.int64)
    tiles[..., 0] = 1  # as the processor pads: an image that is not there has one tile
    pixels = torch.zeros(len(made), images, MOST, 3, SIDE * PATCH, SIDE * PATCH)
    seen = torch.zeros(len(made), length, images, MOST, dtype=torch.int64)
    for at, (number, row) in enumerate(zip(which, made, strict=True)):
        start = length - len(row)
        ids[at, start:], mask[at, start:] = torch.tensor(row), 1
        begins = [start + place for place, one in enumerate(row) if one == IMAGE] + [length]
        for image, (down, across) in enumerate(IMAGES[number]):
            count = down * across
            kinds[at, image] = RATIOS.index([down, across]) + 1
            tiles[at, image, :count] = 1
            pixels[at, image, :count] = noise(count, *pixels.shape[3:], seed=100 * number + 10 * image)
            seen[at, begins[image] : begins[image + 1], image, :count] = 1
    call = {"input_ids": ids, "attention_mask": mask, "pixel_values": pixels, "cross_attention_mask": seen}
    return {**call, "aspect_ratio_ids": kinds, "aspect_ratio_mask": tiles}


def on_canvas(call):
    """[B, I, T, 3, h, w, 2] where each pixel lies in its image, NaN in tiles that are padding."""
    side = SIDE * PATCH
    where = torch.full((*call["pixel_values"].shape, 2), float("nan"))
    step = (torch.arange(side) + 0.5) / side  # in tiles
    inner = torch.stack(torch.broadcast_tensors(step[:, None], step[None]), -1)
    for (prompt, image), kind in zip(
        torch.cartesian_prod(*map(torch.arange, where.shape[:2])), call["aspect_ratio_ids"].flatten(), strict=True
    ):
        if not kind:
            continue
        down, across = RATIOS[kind - 1]
        for tile in range(down * across):
            corner = torch.tensor(divmod(tile, across))
            where[prompt, image, tile] = (inner + corner) / torch.tensor([down, across])
    return where


CASES = {"mllama": Case(mllama, tiled, (0, 1, 2), locate=on_canvas, images=5)}
