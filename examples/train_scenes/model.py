"""The model to train: stock classes and configurations, with a better starting point for the vision tower."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from tokenprune.scenes import VOCABULARY

IMAGE, PATCH, GRID, VISUAL = 128, 8, 16, 256
SPECIALS = ("<pad>", "<s>", "</s>", "<unk>", "<image>", "USER:", "ASSISTANT:")
WORDS = {word: i for i, word in enumerate((*SPECIALS, *sorted({*VOCABULARY, "?"})))}


def encode(text: str) -> list[int]:
    """The ids of plain words, as the tokenizer of the checkpoint gives them."""
    return [WORDS[word] for word in text.lower().replace("?", " ?").split()]


def tower_config() -> CLIPVisionConfig:
    return CLIPVisionConfig(
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=5,
        num_attention_heads=4,
        image_size=IMAGE,
        patch_size=PATCH,
        attn_implementation="sdpa",
    )


def llava_config(layers: int = 8) -> LlavaConfig:
    text = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        bos_token_id=WORDS["<s>"],
        eos_token_id=WORDS["</s>"],
        pad_token_id=WORDS["<pad>"],
        tie_word_embeddings=True,
    )
    return LlavaConfig(
        vision_config=tower_config(),
        text_config=text,
        image_token_index=WORDS["<image>"],
        image_seq_length=VISUAL,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        tie_word_embeddings=True,
    )


def new_tower(patches: Tensor) -> Any:
    """A CLIP tower at its starting point; ``patches`` ``[P, 192]`` are the pixels of training patches."""
    tower = CLIPVisionModel(tower_config())
    embeddings = tower.embeddings
    with torch.no_grad():
        embeddings.patch_embedding.weight.copy_(whitening(patches, tower.config.hidden_size))
        embeddings.position_embedding.weight[0] = 0
        embeddings.position_embedding.weight[1:] = 0.5 * sin_cos(tower.config.hidden_size)
        for layer in tower.encoder.layers:
            start_attention(layer.self_attn, tower.config.num_attention_heads)
    return tower


def new_llava(tower: Any, layers: int = 8) -> Any:
    """The whole model around a trained tower, which stays as it is."""
    model = LlavaForConditionalGeneration(llava_config(layers))
    model.model.vision_tower.load_state_dict(tower.state_dict())
    model.model.vision_tower.requires_grad_(False)
    return model


def whitening(patches: Tensor, width: int) -> Tensor:
    """Principal directions of patches ``[P, 192]``, each scaled to variance 1/4: a kernel ``[width, 3, 8, 8]``."""
    variance, direction = torch.linalg.eigh(torch.cov((patches - patches.mean(0)).T))
    variance, direction = variance.flip(0)[:width], direction.flip(1)[:, :width]
    return torch.reshape((0.5 * direction / (variance + 0.01).sqrt()).T, (width, 3, PATCH, PATCH))


def sin_cos(width: int) -> Tensor:
    """Two-dimensional sine and cosine codes of the patches, ``[256, width]``."""
    quarter = width // 4
    waves = torch.arange(GRID).float()[:, None] / 30 ** (torch.arange(quarter) / quarter)  # [16, width / 4]
    line = torch.cat([waves.sin(), waves.cos()], dim=1)  # [16, width / 2]
    rows, columns = line[:, None].expand(-1, GRID, -1), line[None].expand(GRID, -1, -1)
    return torch.cat([rows, columns], dim=-1).flatten(0, 1)


def start_attention(attention: Any, heads: int) -> None:
    """Mimetic start (Trockman and Kolter 2023, arXiv 2305.09828): W_q^T W_k near +I, W_o W_v near -I."""
    width = attention.q_proj.weight.shape[0]
    size = width // heads
    for head in range(heads):
        left, scale, right = torch.linalg.svd(_near_identity(width, 0.7, 0.7))
        root, rows = scale[:size].sqrt(), slice(head * size, (head + 1) * size)
        attention.q_proj.weight[rows] = (left[:, :size] * root).T
        attention.k_proj.weight[rows] = right[:size] * root[:, None]
    left, scale, right = torch.linalg.svd(_near_identity(width, 0.4, -0.4))
    attention.v_proj.weight.copy_(right * scale.sqrt()[:, None])
    attention.out_proj.weight.copy_(left * scale.sqrt())


def _near_identity(width: int, noise: float, share: float) -> Tensor:
    return torch.add(share * torch.eye(width), torch.randn(width, width), alpha=noise / width**0.5)


def to_patches(pixels: Tensor) -> Tensor:
    """Images ``[B, 3, 128, 128]`` as rows of pixels ``[B * 256, 192]``."""
    return functional.unfold(pixels, PATCH, stride=PATCH).transpose(1, 2).flatten(0, 1)


def trainable(module: nn.Module) -> list[Tensor]:
    return [weight for weight in module.parameters() if weight.requires_grad]
