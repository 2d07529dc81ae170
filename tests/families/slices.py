"""Families whose images come with crops of theirs, each of a size of its own."""

from itertools import chain

import torch
from families.native import INTERLEAVED, LINEAR
from families.ragged import LAYERS, TOKENS, made
from families.tiny import BEGIN, END, IMAGE, Case, noise, padded, rows, text

SLICE, SLICED, LINE = 54, 53, 52  # marks before and after a slice, and at the end of a line of them
# Patches: overview and slices, or tiles and thumbnail, of each image of each prompt.
SLICES = [[[(4, 8), (8, 4), (8, 4)], [(8, 8)]], [[(8, 12)]]]
TILES = [[[(4, 4), (4, 4), (4, 6)], [(6, 4)]], [[(8, 4)]]]


def minicpm(module, name, mode, **more):
    """A MiniCPM-V whose encoder merges 2 x 2 patches after its first layer, unless the mode is 4x."""
    vision = {**LAYERS, "patch_size": 4, "image_size": 24, "insert_layer_id": 0}
    language = text(model_type="qwen3_5_text", rope_parameters=INTERLEAVED, **LINEAR)
    return made(module, name, vision, language, downsample_mode=mode, insert_layer_id=0, **TOKENS, **more)


def minicpmv4_6():
    return minicpm("minicpmv4_6", "MiniCPMV4_6", "16x")


def minicpm_ocr():
    return minicpm("minicpm_ocr", "MiniCPMOcr", "4x")


def minicpmv4_7():
    marks = {"image_start_id": BEGIN, "image_end_id": END, "slice_start_id": SLICE, "slice_end_id": SLICED}
    return minicpm("minicpmv4_7", "MiniCPMV4_7", "16x", **marks, newline_id=LINE)


def sliced(merge, **types):
    """Inputs of MiniCPM-V: all crops in one line of patches [1, 3, h, P * w], an overview before the slices."""

    def marks(crops):
        first, *rest = [height * width // merge**2 for height, width in crops]
        return [BEGIN, *[IMAGE] * first, END, *[one for count in rest for one in (SLICE, *[IMAGE] * count, SLICED)]]

    def inputs(model, which):
        crops = [(number, at, crop) for number in which for at, crop in enumerate(chain(*SLICES[number]))]
        lines = [noise(3, 4, 4 * crop[0] * crop[1], seed=100 * number + at) for number, at, crop in crops]
        sizes = torch.tensor([crop for _, _, crop in crops], dtype=torch.int32)
        ids = padded(rows(which, SLICES, marks), **types)
        return {**ids, "pixel_values": torch.cat(lines, -1)[None], "target_sizes": sizes}

    return inputs


def in_one_line(call):
    """[1, 3, h, P * w, 2] where each patch lies in its crop; they are in reading order."""
    patch = torch.cat([middles(*size) for size in call["target_sizes"].tolist()])
    return patch.repeat_interleave(4, 0).expand(*call["pixel_values"].shape, 2)


def middles(height, width):
    """[P, 2] where the patches of a picture lie."""
    y, x = (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width
    return torch.stack(torch.meshgrid(y, x, indexing="ij"), -1).flatten(0, 1)


def lfm2_vl():
    vision = {
        **LAYERS,
        "model_type": "siglip2_vision_model",
        "patch_size": 4,
        "num_patches": 36,
        "vision_use_head": False,
    }
    language = text(model_type="lfm2", layer_types=["conv", "full_attention"], conv_L_cache=3)
    return made("lfm2_vl", "Lfm2Vl", vision, language, image_token_id=IMAGE, projector_hidden_size=40)


def naflex(model, which):
    """Inputs of LFM2-VL: crops [I, P, pixels] padded to the longest, a thumbnail after the tiles."""

    def marks(crops):
        counts = [height * width // 4 for height, width in crops]
        tiles = [one for at, count in enumerate(counts[:-1]) for one in (SLICED + at, *[IMAGE] * count)]
        return [BEGIN, *tiles, *[LINE] * bool(tiles), *[IMAGE] * counts[-1], END]

    crops = [(100 * number + at, crop) for number in which for at, crop in enumerate(chain(*TILES[number]))]
    sizes = torch.tensor([crop for _, crop in crops])
    there = torch.arange(32) < sizes.prod(-1)[:, None]
    pixels = noise(len(crops), 32, 48, seed=7)
    for at, (seed, (height, width)) in enumerate(crops):
        pixels[at, : height * width] = noise(height * width, 48, seed=seed)
    ids = padded(rows(which, TILES, marks))
    return {**ids, "pixel_values": pixels, "spatial_shapes": sizes, "pixel_attention_mask": there.long()}


def unpadded(call):
    """[I, P, pixels, 2] where each patch lies in its crop, NaN in padding."""
    where = torch.full((*call["pixel_values"].shape, 2), float("nan"))
    for at, size in enumerate(call["spatial_shapes"].tolist()):
        where[at, : size[0] * size[1]] = middles(*size)[:, None]
    return where


CASES = {
    "minicpmv4_6": Case(minicpmv4_6, sliced(4), locate=in_one_line),
    "minicpm_ocr": Case(minicpm_ocr, sliced(2), locate=in_one_line, since="5.21"),
    "minicpmv4_7": Case(minicpmv4_7, sliced(4, mm_token_type_ids=1), locate=in_one_line),
    "lfm2_vl": Case(lfm2_vl, naflex, locate=unpadded),
}
