"""Families whose images have a size of their own."""

from importlib import import_module

import torch
from einops import rearrange
from families.tiny import AXES, BEGIN, END, IMAGE, VIDEO, VISION, Case, alive, noise, padded, picture, rows, text

GRIDS = [[(6, 10), (4, 4)], [(8, 4)]]  # patches of each image of each prompt; 3 x 5, 2 x 2 and 4 x 2 after merging
LAYERS = ["sliding_attention", "full_attention"]


def _class(module, name):
    return getattr(import_module(f"transformers.models.{module}"), name)


def patches(model, which):
    """Inputs of Qwen-VL: patches [P, pixels] of all images, the four of a token next to each other."""
    pixels = picture(which, GRIDS, lambda grid, seed: noise(grid[0] * grid[1], 96, seed=seed))
    ids = padded(rows(which, GRIDS, lambda grid: _marks(grid)), mm_token_type_ids=1)
    grids = torch.tensor([(1, *grid) for number in which for grid in GRIDS[number]])
    return {**ids, "pixel_values": pixels, "image_grid_thw": grids}


def _marks(grid):
    return [BEGIN, *[IMAGE] * (grid[0] * grid[1] // 4), END]


def merged(call):
    """[P, pixels, 2] where each patch lies: processors put the four patches of a token next to each other."""
    parts = []
    for _, height, width in call["image_grid_thw"].tolist():
        y, x = (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width
        at = torch.stack(torch.broadcast_tensors(y[:, None], x[None]), -1)
        parts.append(rearrange(at, "(h a) (w b) c -> (h w a b) 1 c", a=2, b=2))
    return torch.cat(parts).expand(-1, call["pixel_values"].shape[1], -1)


def _qwen(module, name, vision, language, **more):
    """A model of the Qwen-VL kind."""
    config = _class(module, f"{name}Config")(
        vision_config={"num_heads": 4, "patch_size": 4, "spatial_merge_size": 2, "temporal_patch_size": 2, **vision},
        text_config=language,
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        **more,
    )
    return alive(_class(module, f"{name}ForConditionalGeneration")(config))


VISIBLE = {"depth": 3, "hidden_size": 32, "intermediate_size": 40, "out_hidden_size": 48}
ENDS = {"vision_start_token_id": BEGIN, "vision_end_token_id": END}
GLM_ENDS = {
    "image_start_token_id": BEGIN,
    "image_end_token_id": END,
    "video_start_token_id": 55,
    "video_end_token_id": 56,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "decoder_sparse_step": 1}
LINEAR = {
    "head_dim": 12,
    "layer_types": ["linear_attention", "full_attention"],
    "linear_conv_kernel_dim": 4,
    "linear_key_head_dim": 12,
    "linear_value_head_dim": 12,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
}
INTERLEAVED = {**AXES, "mrope_interleaved": True, "partial_rotary_factor": 1.0}
WHOLE = {**AXES, "partial_rotary_factor": 1.0}


def qwen2_vl():
    vision = {"depth": 3, "embed_dim": 32, "hidden_size": 48, "mlp_ratio": 2}
    return _qwen("qwen2_vl", "Qwen2VL", vision, text(rope_parameters=AXES), **ENDS)


def qwen2_5_vl():
    vision = {**VISIBLE, "window_size": 16, "fullatt_block_indexes": [1]}
    return _qwen("qwen2_5_vl", "Qwen2_5_VL", vision, text(rope_parameters=AXES), **ENDS)


def qwen3_vl():
    vision = {**VISIBLE, "num_position_embeddings": 36, "deepstack_visual_indexes": [0, 1]}
    return _qwen("qwen3_vl", "Qwen3VL", vision, text(head_dim=12, rope_parameters=INTERLEAVED), **ENDS)


def qwen3_vl_moe():
    vision = {**VISIBLE, "num_position_embeddings": 36, "deepstack_visual_indexes": [0, 1]}
    language = text(head_dim=12, rope_parameters=INTERLEAVED, **EXPERTS)
    return _qwen("qwen3_vl_moe", "Qwen3VLMoe", vision, language, **ENDS)


def qwen3_5():
    vision = {**VISIBLE, "num_position_embeddings": 36}
    return _qwen("qwen3_5", "Qwen3_5", vision, text(rope_parameters=INTERLEAVED, **LINEAR), **ENDS)


def qwen3_5_moe():
    vision = {**VISIBLE, "num_position_embeddings": 36}
    language = text(rope_parameters=INTERLEAVED, shared_expert_intermediate_size=32, **LINEAR, **EXPERTS)
    return _qwen("qwen3_5_moe", "Qwen3_5Moe", vision, language, **ENDS)


def glm4v():
    vision = {**VISIBLE, "image_size": 24}
    return _qwen("glm4v", "Glm4v", vision, text(rope_parameters=WHOLE), **GLM_ENDS)


def glm46v():
    vision = {**VISIBLE, "image_size": 24, "model_type": "glm4v_vision"}
    language = text(rope_parameters=WHOLE, model_type="glm4v_text")
    return _qwen("glm46v", "Glm46V", vision, language, **GLM_ENDS)


def glm_ocr():
    vision = {**VISIBLE, "image_size": 24}
    return _qwen("glm_ocr", "GlmOcr", vision, text(head_dim=12, rope_parameters=WHOLE), **GLM_ENDS)


def glm4v_moe():
    vision = {**VISIBLE, "image_size": 24}
    language = text(
        rope_parameters=WHOLE,
        n_routed_experts=4,
        n_shared_experts=1,
        num_experts_per_tok=2,
        moe_intermediate_size=32,
        first_k_dense_replace=1,
        n_group=1,
        topk_group=1,
    )
    return _qwen("glm4v_moe", "Glm4vMoe", vision, language, **GLM_ENDS)


def cohere_compass():
    vision = {**VISIBLE, "num_position_embeddings": 36, "deepstack_visual_indexes": [0, 1]}
    language = text(head_dim=12, rope_parameters={"full_attention": {**AXES, "mrope_interleaved": True}})
    return _qwen("cohere_compass", "CohereCompass", vision, language, **ENDS)


def cosmos3_omni():
    vision = {**VISIBLE, "num_position_embeddings": 36, "deepstack_visual_indexes": [0, 1]}
    return _qwen("cosmos3_omni", "Cosmos3Omni", vision, text(head_dim=12, rope_parameters=INTERLEAVED), **ENDS)


def paddleocr_vl():
    language = text(head_dim=12, rope_parameters=AXES)
    return _qwen("paddleocr_vl", "PaddleOCRVL", VISION, language, **ENDS)


def reading(model, which):
    """Inputs of PaddleOCR-VL: patches [P, 3, h, w] in reading order."""
    call = patches(model, which)
    return {**call, "pixel_values": call["pixel_values"][:, :48].reshape(-1, 3, 4, 4)}


def in_lines(call):
    """[P, 3, h, w, 2] where each patch lies."""
    parts = []
    for _, height, width in call["image_grid_thw"].tolist():
        y, x = (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width
        parts.append(torch.stack(torch.meshgrid(y, x, indexing="ij"), -1).flatten(0, 1))
    return torch.cat(parts)[:, None, None, None].expand(*call["pixel_values"].shape, 2)


PIXTRAL = {**VISION, "model_type": "pixtral", "head_dim": 8, "image_size": 48}
SIZES = [[(24, 40), (16, 16)], [(32, 16)]]  # pixels of each image of each prompt


def mistral3():
    from transformers import Mistral3Config, Mistral3ForConditionalGeneration

    language = text(model_type="mistral", head_dim=12, sliding_window=None)
    config = Mistral3Config(vision_config=PIXTRAL, text_config=language, image_token_index=IMAGE, spatial_merge_size=2)
    return alive(Mistral3ForConditionalGeneration(config))


def lighton_ocr():
    from transformers import LightOnOcrConfig, LightOnOcrForConditionalGeneration

    language = text(model_type="qwen3", head_dim=12)
    config = LightOnOcrConfig(vision_config=PIXTRAL, text_config=language, image_token_id=IMAGE, spatial_merge_size=2)
    return alive(LightOnOcrForConditionalGeneration(config))


def pixtral():
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    config = LlavaConfig(
        vision_config=PIXTRAL,
        text_config=text(model_type="mistral", head_dim=12, sliding_window=None),
        image_token_index=IMAGE,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )
    return alive(LlavaForConditionalGeneration(config))


def sized(pixels):
    """Inputs of Pixtral: images [I, 3, H, W] padded to the largest; a token has ``pixels`` along a side."""

    def marks(size):
        height, width = size[0] // pixels, size[1] // pixels
        lines = [[*[IMAGE] * width, BEGIN] for _ in range(height)]
        return [*[one for line in lines for one in line][:-1], END]

    def inputs(model, which):
        sizes = [size for number in which for size in SIZES[number]]
        whole = torch.zeros(len(sizes), 3, 32, 40)
        images = [(number, at, size) for number in which for at, size in enumerate(SIZES[number])]
        for place, (number, at, (height, width)) in enumerate(images):
            whole[place, :, :height, :width] = noise(3, height, width, seed=100 * number + at)
        ids = padded(rows(which, SIZES, marks))
        return {**ids, "pixel_values": whole, "image_sizes": torch.tensor(sizes)}

    return inputs


def within(call):
    """[I, 3, H, W, 2] where each pixel lies in its image, NaN in padding."""
    where = torch.full((*call["pixel_values"].shape, 2), float("nan"))
    for at, (height, width) in enumerate(call["image_sizes"].tolist()):
        y, x = (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width
        where[at, :, :height, :width] = torch.stack(torch.broadcast_tensors(y[:, None], x[None]), -1)
    return where


QWEN_LIKE = (
    qwen2_vl,
    qwen2_5_vl,
    qwen3_vl,
    qwen3_vl_moe,
    qwen3_5,
    qwen3_5_moe,
    glm4v,
    glm46v,
    glm_ocr,
    glm4v_moe,
    cohere_compass,
    cosmos3_omni,
)
CASES = {
    **{build.__name__: Case(build, patches, locate=merged) for build in QWEN_LIKE},
    "paddleocr_vl": Case(paddleocr_vl, reading, locate=in_lines, since="5.21"),
    "mistral3": Case(mistral3, sized(8), locate=within),
    "lighton_ocr": Case(lighton_ocr, sized(8), locate=within),
    "llava, Pixtral": Case(pixtral, sized(4), locate=within),
}
