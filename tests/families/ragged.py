"""More families whose images have a size of their own, each with an encoder of its own."""

from importlib import import_module

from families.native import ENDS, in_lines, merged, patches
from families.tiny import AXES, IMAGE, VIDEO, Case, alive, text

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


TOKENS = {"image_token_id": IMAGE, "video_token_id": VIDEO}
LAYERS = {"num_hidden_layers": 3, "num_attention_heads": 4, "hidden_size": 32, "intermediate_size": 40}


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


CASES = {
    "cosmos3_edge": Case(cosmos3_edge, thin, locate=merged),
    "kimi_k25": Case(kimi_k25, squares, locate=in_lines),
}
