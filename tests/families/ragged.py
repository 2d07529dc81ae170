"""More families whose images have a size of their own, each with an encoder of its own."""

from importlib import import_module

import torch
from families.native import (
    ENDS,
    GLM_ENDS,
    GRIDS,
    INTERLEAVED,
    LINEAR,
    PIXTRAL,
    VISIBLE,
    WHOLE,
    in_lines,
    merged,
    patches,
    sized,
    within,
)
from families.tiny import AXES, BEGIN, END, IMAGE, VIDEO, Case, alive, noise, padded, picture, rows, text
from transformers import AutoModelForImageTextToText, GlmgaConfig

EXPERTS = {
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
}
LATENT = {
    "num_key_value_heads": 4,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 12,
}
SOUND_TOKEN = 56
TOKENS = {"image_token_id": IMAGE, "video_token_id": VIDEO}
LAYERS = {"num_hidden_layers": 3, "num_attention_heads": 4, "hidden_size": 32, "intermediate_size": 40}
MUSE = {**LAYERS, "patch_size": 4, "pos_emb_height": 4, "pos_emb_width": 4, "max_position_embeddings": 16}
ADAPTER = {"out_hidden_size": 128, "projector_hidden_size": 40, **TOKENS}
UNCAPPED = {"final_logit_softcapping": 1e4}  # so that the head is linear, as the run by hand takes it to be
SOUND = {"d_model": 16, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 16, "output_dim": 48}
SINGLE = [[(3, 5), (2, 2)], [(4, 2)]]  # patches of each image of each prompt


def made(module, name, vision, language, model=None, **more):
    """The model of a module, built from its own config class."""
    found = import_module(f"transformers.models.{module}")
    config = getattr(found, f"{name}Config")(vision_config=vision, text_config=language, **more)
    return alive(getattr(found, model or f"{name}ForConditionalGeneration")(config))


def kimi_k25():
    vision = {
        **LAYERS,
        "patch_size": 4,
        "merge_kernel_size": (2, 2),
        "pos_emb_height": 6,
        "pos_emb_width": 6,
    }
    language = text(model_type="deepseek_v3", **EXPERTS, **LATENT)
    return made("kimi_k25", "Kimi_K25", vision, language, projection_hidden_size=32, **TOKENS, **ENDS)


def squares(model, which):
    """Patches [P, 3, h, w] of images in reading order; nothing marks which tokens are visual."""
    call = patches(model, which)
    del call["mm_token_type_ids"]
    return {**call, "pixel_values": call["pixel_values"][:, :48].reshape(-1, 3, 4, 4)}


def cosmos3_edge():
    vision = {**LAYERS, "patch_size": 4, "num_patches": 36}
    language = text(head_dim=12, rope_parameters=AXES)
    return made("cosmos3_edge", "Cosmos3Edge", vision, language, projector_hidden_size=64, **TOKENS, **ENDS)


def thin(model, which):
    """Inputs like Qwen-VL's with a depth of one frame: patches [P, pixels], the four of a token next to each other."""
    call = patches(model, which)
    return {**call, "pixel_values": call["pixel_values"][:, :48]}


def unmarked(model, which):
    """Inputs of Qwen-VL without what marks visual tokens."""
    call = patches(model, which)
    del call["mm_token_type_ids"]
    return call


def minimax_m3_vl():
    vision = {**LAYERS, "hidden_size": 48, "patch_size": 4}
    language = text(
        head_dim=12,
        rotary_dim=8,
        num_local_experts=4,
        num_experts_per_tok=2,
        intermediate_size=32,
        shared_intermediate_size=32,
        dense_intermediate_size=64,
        mlp_layer_types=["dense", "sparse"],
        layer_types=["full_attention", "minimax_m3_sparse"],
        index_n_heads=2,
        index_head_dim=8,
        index_block_size=8,
        index_topk_blocks=3,
    )
    tokens = {"image_token_index": IMAGE, "video_token_index": VIDEO, "projector_hidden_size": 40}
    return made("minimax_m3_vl", "MiniMaxM3VL", vision, language, "MiniMaxM3SparseForConditionalGeneration", **tokens)


def muse_glimmer():
    language = text(head_dim=12, layer_types=["sliding_attention", "full_attention"], **UNCAPPED)
    return made("muse_glimmer", "MuseGlimmer", MUSE, language, **ADAPTER)


def muse_spark():
    language = text(
        head_dim=12,
        layer_types=["sliding_attention", "full_attention"],
        mlp_layer_types=["dense", "sparse"],
        num_local_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=32,
        moe_hidden_size=24,
        **UNCAPPED,
    )
    audio = {"patch_sizes": (4, 4), "hidden_sizes": (16, 16), "depths": (1, 1), "num_hidden_layers": 2}
    audio |= {"out_hidden_size": 48}
    return made("muse_spark", "MuseSpark", MUSE, language, audio_config=audio, audio_token_id=SOUND_TOKEN, **ADAPTER)


def in_lines_flat(call):
    """[P, pixels, 2] where each patch lies; they are in reading order."""
    return in_lines({**call, "pixel_values": call["pixel_values"][..., None, None]})[:, :, 0, 0]


def video_llama_3():
    return made(
        "video_llama_3",
        "VideoLlama3",
        {**LAYERS, "patch_size": 4},
        text(model_type="qwen2"),
        **TOKENS,
        tie_word_embeddings=True,
    )


def single(model, which):
    """Inputs of VideoLLaMA 3, a token each patch."""
    pixels = picture(which, SINGLE, lambda grid, seed: noise(grid[0] * grid[1], 48, seed=seed))
    ids = padded(rows(which, SINGLE, lambda grid: [BEGIN, *[IMAGE] * (grid[0] * grid[1]), END]))
    grids = torch.tensor([(1, *grid) for number in which for grid in SINGLE[number]])
    return {**ids, "pixel_values": pixels, "image_grid_thw": grids, "image_merge_sizes": torch.ones_like(grids[:, 0])}


def averaged(model, which):
    """Inputs of VideoLLaMA 3, 2 x 2 patches a token."""
    call = thin(model, which)
    del call["mm_token_type_ids"]
    return {**call, "image_merge_sizes": torch.full_like(call["image_grid_thw"][:, 0], 2)}


def ernie4_5_vl_moe():
    vision = {"depth": 3, "num_heads": 4, "hidden_size": 32, "intermediate_size": 40, "patch_size": 4}
    language = text(
        rope_parameters=AXES,
        mlp_layer_types=["dense", "sparse"],
        moe_k=2,
        moe_num_experts=4,
        moe_num_shared_experts=1,
        moe_intermediate_size=[32, 24],
    )
    ends = {"image_start_token_id": BEGIN, "image_end_token_id": END}
    ends |= {"video_start_token_id": 55, "video_end_token_id": 56}
    return made("ernie4_5_vl_moe", "Ernie4_5_VLMoe", vision, language, **TOKENS, **ends)


def routed(model, which):
    """Inputs of ERNIE 4.5 VL: what goes to the visual experts, the marks around images among them."""
    call = thin(model, which)
    visual = torch.isin(call["input_ids"], torch.tensor([BEGIN, IMAGE, END]))
    return {**call, "moe_mm_token_type_ids": visual.long()}


def hunyuan_vl():
    vision = {**LAYERS, "patch_size": 4, "max_image_size": 24, "out_hidden_size": 48}
    axes = {
        "rope_type": "dynamic",
        "rope_theta": 10000.0,
        "alpha": 1000.0,
        "factor": 1.0,
        "mrope_section": [2, 2, 1, 1],
    }
    return made("hunyuan_vl", "HunYuanVL", vision, text(head_dim=12, rope_parameters=axes), image_token_id=IMAGE)


def framed(model, which):
    """Inputs of HunYuan-VL: begin, newlines and end are placeholders too."""
    call = patches(model, which)
    marks = lambda grid: [BEGIN, *[IMAGE] * (grid[0] // 2 * (grid[1] // 2 + 1) + 2), END]  # noqa: E731
    ids = padded(rows(which, GRIDS, marks), mm_token_type_ids=1)
    return {**ids, "pixel_values": call["pixel_values"][:, :48], "image_grid_thw": call["image_grid_thw"]}


def dots3_note():
    vision = {
        **LAYERS,
        "patch_size": 4,
        "mlp_layer_types": ["dense", "dense", "sparse"],
        "moe_intermediate_size": 24,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "adapter_in_dim": 32,
        "adapter_out_dim": 48,
    }
    own = {"num_attention_heads": 4, "num_key_value_heads": 4, "q_lora_rank": 16, "kv_lora_rank": 16, "v_head_dim": 12}
    own |= {"head_dim": 16, "qk_nope_head_dim": 8}
    language = text(
        head_dim=16,
        layer_types=["sliding_attention", "indexed_attention"],
        index_topk=12,
        index_head_dim=16,
        index_n_heads=32,
        shared_experts_intermediate_size=32,
        **{f"swa_{name}": value for name, value in own.items()},
        **EXPERTS,
        **LATENT,
    )
    audio = {"hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 1, "num_attention_heads": 4}
    audio |= {"adapter_input_size": 32, "adapter_out_dim": 48, "downsample_hidden_size": 8}
    return made("dots3_note", "Dots3Note", vision, language, audio_config=audio, audio_token_id=SOUND_TOKEN, **TOKENS)


def thin_unmarked(model, which):
    """Inputs like Qwen-VL's with a depth of one frame, without what marks visual tokens."""
    call = thin(model, which)
    del call["mm_token_type_ids"]
    return call


def glm5_next():
    vision = {**VISIBLE, "num_heads": 4, "patch_size": 4, "image_size": 24, "projection_intermediate_size": 40}
    language = text(
        layer_types=["linear_attention", "indexed_attention"],
        mlp_layer_types=["dense", "sparse"],
        index_topk=8,
        index_kpool=4,
        index_head_dim=16,
        index_n_heads=32,
        linear_head_dim=12,
        linear_num_heads=4,
        hc_mult=2,
        **{name: EXPERTS[name] for name in EXPERTS if name != "first_k_dense_replace"},
        **{**LATENT, "qk_rope_head_dim": 0},
    )
    return made("glm5_next", "Glm5Next", vision, language, **TOKENS, **GLM_ENDS)


def glmga():
    vision = {**VISIBLE, "num_heads": 4, "patch_size": 4, "image_size": 24}
    config = GlmgaConfig(vision_config=vision, text_config=text(rope_parameters=WHOLE), **TOKENS, **GLM_ENDS)
    return alive(AutoModelForImageTextToText.from_config(config))


def qwen4_exp():
    vision = {**VISIBLE, "num_heads": 4, "patch_size": 4, "num_position_embeddings": 36}
    language = text(
        rope_parameters=INTERLEAVED,
        **LINEAR,
        hc_count=2,
        hc_lowrank=8,
        ple_layer_ids=[1],
        heads_per_ngram=2,
        ngram_vocab_size_base=50,
        make_ngram_vocab_size_divisible_by=8,
        split_ngram_parts=2,
        indexer_n_heads=4,
        indexer_kv_heads=1,
        indexer_head_dim=12,
        indexer_budget=12,
        indexer_compress_ratio=4,
        moe_intermediate_size=32,
        shared_expert_intermediate_size=32,
        num_experts=4,
        num_experts_per_tok=2,
    )
    return made("qwen4_exp", "Qwen4Exp", vision, language, **TOKENS, **ENDS)


def inkling2():
    vision = {**LAYERS, "patch_size": 4, "posemb_grid_size": 6, "projection_hidden_dim": 40, "text_hidden_size": 48}
    language = text(
        unpadded_vocab_size=64,
        head_dim=12,
        swa_num_attention_heads=4,
        swa_num_key_value_heads=2,
        swa_head_dim=12,
        sliding_window_size=32,
        d_rel=4,
        rel_extent=64,
        layer_types=["hybrid_sliding", "hybrid"],
        moe_intermediate_size=32,
        n_routed_experts=4,
        num_experts_per_tok=2,
        n_layers_per_attn_res_block=1,
        **UNCAPPED,
    )
    del language["intermediate_size"]
    return made("inkling2", "Inkling2", vision, language, image_token_id=IMAGE)


def squares_of_tokens(model, which):
    """Inputs of Inkling 2: squares [T, H, W, 3] of pixels, one a token, and sizes in tokens."""
    pixels = picture(which, SINGLE, lambda grid, seed: noise(grid[0] * grid[1], 8, 8, 3, seed=seed))
    ids = padded(rows(which, SINGLE, lambda grid: [BEGIN, *[IMAGE] * (grid[0] * grid[1]), END]))
    grids = torch.tensor([(1, *grid) for number in which for grid in SINGLE[number]])
    return {**ids, "pixel_values": pixels, "image_grid_thw": grids}


def exaone4_5():
    vision = {**VISIBLE, "num_heads": 4, "patch_size": 4, "num_key_value_heads": 2, "window_size": 16}
    vision |= {"fullatt_block_indexes": [1]}
    language = text(model_type="exaone4", layer_types=["sliding_attention", "full_attention"], sliding_window=64)
    return made("exaone4_5", "Exaone4_5_", vision, language, "Exaone4_5_ForConditionalGeneration", **TOKENS)


def hyperclovax_vision_v2():
    vision = {**VISIBLE, "num_heads": 4, "patch_size": 4, "window_size": 16, "fullatt_block_indexes": [1]}
    return made("hyperclovax_vision_v2", "HyperCLOVAXVisionV2", vision, text(model_type="hyperclovax"), **TOKENS)


def lfm3_vl():
    vision = {
        **LAYERS,
        "patch_size": 4,
        "num_key_value_heads": 2,
        "layer_types": ["conv", "full_attention", "conv"],
        "conv_kernel_size": 1,  # larger ones mix patches, so that no token is of its own pixels alone
    }
    language = text(model_type="lfm3", head_dim=12, layer_types=["conv", "full_attention"], conv_L_cache=3)
    return made("lfm3_vl", "Lfm3Vl", vision, language, projector_hidden_size=40, **TOKENS, **ENDS)


def qwen2_5_omni_thinker():
    vision = {**VISIBLE, "num_heads": 4, "patch_size": 4, "window_size": 16, "fullatt_block_indexes": [1]}
    tokens = {
        "image_token_index": IMAGE,
        "video_token_index": VIDEO,
        "audio_token_index": SOUND_TOKEN,
        "audio_config": SOUND,
    }
    tokens |= {"vision_start_token_id": BEGIN, "vision_end_token_id": END}
    name, model = "Qwen2_5OmniThinker", "Qwen2_5OmniThinkerForConditionalGeneration"
    return made("qwen2_5_omni", name, vision, text(rope_parameters=AXES), model, **tokens)


def qwen3_omni_moe_thinker():
    vision = {**VISIBLE, "num_heads": 4, "patch_size": 4, "num_position_embeddings": 36}
    vision |= {"deepstack_visual_indexes": [0, 1]}
    language = text(head_dim=12, rope_parameters=INTERLEAVED, num_experts=4, num_experts_per_tok=2)
    tokens = {**TOKENS, **ENDS, "audio_token_id": SOUND_TOKEN, "audio_config": {**SOUND, "downsample_hidden_size": 8}}
    name, model = "Qwen3OmniMoeThinker", "Qwen3OmniMoeThinkerForConditionalGeneration"
    return made("qwen3_omni_moe", name, vision, {**language, "moe_intermediate_size": 32}, model, **tokens)


def mistral_large4():
    language = text(
        num_hidden_layers=3,
        index_topk=12,
        index_head_dim=16,
        index_n_heads=32,
        indexer_types=["full", "shared", "full"],
        kv_source_layers=[0, 0, 2],
        no_rope_layers=[1, 1, 0],
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        **EXPERTS,
        **LATENT,
        **UNCAPPED,
    )
    return made("mistral_large4", "MistralLarge4", PIXTRAL, language, image_token_index=IMAGE)


CASES = {
    "kimi_k25": Case(kimi_k25, squares, locate=in_lines),
    "cosmos3_edge": Case(cosmos3_edge, thin, locate=merged),
    "minimax_m3_vl": Case(minimax_m3_vl, unmarked, locate=merged),
    "muse_glimmer": Case(muse_glimmer, unmarked, locate=in_lines_flat),
    "muse_spark": Case(muse_spark, unmarked, locate=in_lines_flat),
    "video_llama_3": Case(video_llama_3, single, locate=in_lines_flat),
    "video_llama_3, merged": Case(video_llama_3, averaged, locate=merged),
    "ernie4_5_vl_moe": Case(ernie4_5_vl_moe, routed, locate=merged),
    "hunyuan_vl": Case(hunyuan_vl, framed, locate=in_lines_flat),
    "dots3_note": Case(dots3_note, thin_unmarked, locate=merged, since="5.23"),
    "glm5_next": Case(glm5_next, unmarked, locate=merged),
    "glmga": Case(glmga, patches, locate=merged),
    "qwen4_exp": Case(qwen4_exp, patches, locate=merged),
    "inkling2": Case(inkling2, squares_of_tokens, locate=in_lines, since="5.23"),
    "exaone4_5": Case(exaone4_5, unmarked, locate=merged),
    "hyperclovax_vision_v2": Case(hyperclovax_vision_v2, unmarked, locate=merged),
    "lfm3_vl": Case(lfm3_vl, unmarked, locate=merged, since="5.23"),
    "qwen2_5_omni_thinker": Case(qwen2_5_omni_thinker, unmarked, locate=merged, since="5.21"),
    "qwen3_omni_moe_thinker": Case(qwen3_omni_moe_thinker, unmarked, locate=merged, since="5.21"),
    "mistral_large4": Case(mistral_large4, sized(8), locate=within, since="5.22"),
}
