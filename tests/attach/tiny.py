"""Tiny models with random weights, and prompts for them: real configurations, no hub, no processor.

model = tiny.llava()
inputs = tiny.prompts(model, images=(0, 1, 2), padding="left")
"""

import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    VipLlavaConfig,
    VipLlavaForConditionalGeneration,
)

VOCABULARY, IMAGE, PAD, BOS = 64, 60, 0, 1
SIDE = 6  # patches along one side of an image
DEPTH = 4  # layers of an encoder
ENCODER = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": 4,
    "image_size": 4 * SIDE,
    "patch_size": 4,
}
CLIP = {"model_type": "clip_vision_model", **ENCODER}
SIGLIP = {"model_type": "siglip_vision_model", "vision_use_head": False, **ENCODER}
TEXT = {
    "vocab_size": VOCABULARY,
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "pad_token_id": PAD,
    "bos_token_id": BOS,
    "eos_token_id": 2,
}
LANGUAGE = {"model_type": "llama", **TEXT}


def _alive(model, seed):
    """Weights large enough that logits and attention differ from token to token; it never stops by itself."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if weight.ndim > 1 or "embedding" in name:
                weight.copy_(noise * weight.shape[-1] ** -0.5)
            else:
                weight.copy_(noise * 0.05 + name.endswith(".weight"))  # of a norm
        model.lm_head.weight[[PAD, IMAGE]] = 0  # the mean of all logits, so never the largest
    model.generation_config.pad_token_id = PAD
    model.generation_config.eos_token_id = None
    model.generation_config.do_sample = False
    return model.eval()


def llava(seed=0, layers=2):
    """LLaVA-1.5: a CLIP tower whose CLS token is dropped; 36 tokens an image."""
    language = {**LANGUAGE, "num_hidden_layers": layers}
    config = LlavaConfig(vision_config=CLIP, text_config=language, image_token_index=IMAGE)
    return _alive(LlavaForConditionalGeneration(config), seed)


def llava_full(seed=0):
    """LLaVA whose CLS token reaches the language model as a row that is no token; 37 rows an image."""
    config = LlavaConfig(
        vision_config=CLIP, text_config=LANGUAGE, image_token_index=IMAGE, vision_feature_select_strategy="full"
    )
    return _alive(LlavaForConditionalGeneration(config), seed)


def llava_siglip(seed=0):
    """LLaVA on an encoder without CLS token; 36 tokens an image."""
    config = LlavaConfig(
        vision_config=SIGLIP, text_config=LANGUAGE, image_token_index=IMAGE, vision_feature_select_strategy="full"
    )
    return _alive(LlavaForConditionalGeneration(config), seed)


def vipllava(seed=0):
    """VipLlava: several encoder layers side by side, features in one tensor; 36 tokens an image."""
    config = VipLlavaConfig(
        vision_config=CLIP,
        text_config=LANGUAGE,
        image_token_index=IMAGE,
        vision_feature_layers=[-2, -4, 1],  # its name up to transformers 5.22
        vision_feature_layer=[-2, -4, 1],
    )
    return _alive(VipLlavaForConditionalGeneration(config), seed)


def language(seed=3):
    """A text model with the same vocabulary."""
    return _alive(LlamaForCausalLM(LlamaConfig(**TEXT)), seed)


MODELS = {"llava": llava, "llava_full": llava_full, "llava_siglip": llava_siglip, "vipllava": vipllava}


def rows_an_image(model):
    """Placeholders that one image takes."""
    return SIDE**2 + (model.config.model_type == "llava" and _keeps_cls(model.config))


def _keeps_cls(config):
    return config.vision_config.model_type == CLIP["model_type"] and config.vision_feature_select_strategy == "full"


def text(count, seed):
    """``count`` ordinary token ids."""
    return torch.randint(3, IMAGE, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def pixels(count, seed=1):
    """[count, 3, side, side], or None for no image."""
    shape = (count, 3, 4 * SIDE, 4 * SIDE)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) if count else None


def padded(rows, side):
    """Rows of ids as one batch: ``input_ids`` and ``attention_mask``, [B, L]."""
    length = max(map(len, rows))
    fill = [[PAD] * (length - len(row)) for row in rows]
    ones = [[1] * len(row) for row in rows]
    both = [(more + row if side == "left" else row + more) for more, row in zip(fill, rows, strict=True)]
    mask = [
        ([0] * len(more) + one if side == "left" else one + [0] * len(more))
        for more, one in zip(fill, ones, strict=True)
    ]
    return {"input_ids": torch.tensor(both), "attention_mask": torch.tensor(mask)}


def prompts(model, images=(1,), padding="left", seed=1):
    """Inputs as a processor gives them: one prompt for each entry of ``images``, with so many images."""
    rows = []
    for number, count in enumerate(images):
        row = [BOS, *text(3 + 2 * number, seed + number)]
        for image in range(count):
            row += [IMAGE] * rows_an_image(model) + text(2, seed + 20 + image)
        rows.append(row + text(4 + number, seed + 10 + number))
    inputs = padded(rows, padding)
    if sum(images):
        inputs["pixel_values"] = pixels(sum(images), seed)
    return inputs
