"""Stand-ins for towers of timm, and families that are built with them: all but the tower itself is the real thing.

A model asks timm for its tower by name. Here it gets a small module of the same contract: the same methods, and outputs
of the same axes in the same order. What transformers wraps around it, the projector and the language model are real.
"""

from contextlib import contextmanager
from types import SimpleNamespace
from unittest import mock

import torch
from families.ragged import UNCAPPED
from families.tiles import SINGLE, run, tiles
from families.tiny import BEGIN, END, IMAGE, VIDEO, VOCABULARY, Case, alive, noise, padded, rows, text
from torch import nn

PATCH, WIDTH = 4, 32
SOUND = IMAGE + 1


class Convolutions(nn.Module):
    """FastViT, MobileNet: [B, 3, H, W] to a map [B, C, h, w]."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.mixed = nn.Conv2d(WIDTH, WIDTH, 1)

    def forward_features(self, pixels):
        return self.mixed(nn.functional.gelu(self.patches(pixels)))

    def forward_head(self, features):
        return features.mean((2, 3))


class Attention(nn.Module):
    """One head that computes attention by itself, as those of timm do."""

    def __init__(self):
        super().__init__()
        self.every = nn.Linear(WIDTH, 3 * WIDTH)

    def forward(self, states):
        return nn.functional.scaled_dot_product_attention(*self.every(states).chunk(3, -1))


class Transformer(nn.Module):
    """The Perception Encoder: [B, 3, H, W] to [B, 1 + N, C], a CLS token and the patches."""

    def __init__(self, class_token=True, embed_dim=WIDTH):
        super().__init__()
        self.patches = nn.Conv2d(3, embed_dim, PATCH, PATCH)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dim)) if class_token else None
        self.attention, self.mlp = Attention(), nn.Linear(embed_dim, embed_dim)

    def forward_features(self, pixels):
        states = self.patches(pixels).flatten(2).mT
        if self.cls_token is not None:
            states = torch.cat([self.cls_token.expand(len(states), -1, -1), states], 1)
        states = states + self.attention(states)
        return states + self.mlp(nn.functional.gelu(states))

    def forward_head(self, features):
        return features[:, 0]


@contextmanager
def timm(tower):
    """While a model is built, ``tower`` is what timm has under every name."""
    from transformers.models.timm_wrapper import modeling_timm_wrapper as module

    def create_model(architecture, pretrained, num_classes, **model_args):
        assert not pretrained
        assert not num_classes
        return tower(**model_args)

    with (
        mock.patch.object(module, "timm", SimpleNamespace(create_model=create_model), create=True),
        mock.patch.object(module, "requires_backends"),
    ):
        yield


def fast_vlm():
    from transformers import FastVlmConfig, FastVlmForConditionalGeneration

    config = FastVlmConfig(
        vision_config={"model_type": "timm_wrapper", "architecture": "fastvit_mci3", "hidden_size": WIDTH},
        text_config=text(model_type="qwen2"),
        image_token_index=IMAGE,
    )
    with timm(Convolutions):
        return alive(FastVlmForConditionalGeneration(config))


def gemma3n():
    from transformers import Gemma3nConfig, Gemma3nForConditionalGeneration

    language = text(
        layer_types=["sliding_attention", "full_attention"] * 2,
        head_dim=12,
        sliding_window=24,
        num_kv_shared_layers=2,
        hidden_size_per_layer_input=8,
        vocab_size_per_layer_input=END,
        laurel_rank=4,
        altup_num_inputs=3,
        activation_sparsity_pattern=[0.5, 0.0, 0.0, 0.0],
        **UNCAPPED,
    )
    sound = {"hidden_size": 16, "conf_num_attention_heads": 2, "conf_num_hidden_layers": 1, "input_feat_size": 16}
    config = Gemma3nConfig(
        text_config=language,
        vision_config={"vocab_offset": END, "vocab_size": SOUND - END, "hidden_size": WIDTH},
        audio_config={"vocab_offset": SOUND, "vocab_size": VOCABULARY - SOUND, **sound},
        vision_soft_tokens_per_image=36,
        image_token_id=IMAGE,
        boi_token_id=BEGIN,
        eoi_token_id=END,
        audio_token_id=SOUND,
    )
    with timm(Convolutions):
        model = alive(Gemma3nForConditionalGeneration(config))
    with torch.no_grad():
        model.get_output_embeddings().weight[END:] = 0  # ids of pictures and of sound, which it never says
    return model


def perception_lm():
    from transformers import PerceptionLMConfig, PerceptionLMForConditionalGeneration

    tower = {"architecture": "vit_pe_core_large_patch14_336", "model_args": {"embed_dim": WIDTH}}
    config = PerceptionLMConfig(
        vision_config={"model_type": "timm_wrapper", **tower, "hidden_size": WIDTH},
        text_config=text(model_type="llama"),
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        projector_pooling_ratio=2,
    )
    with timm(Transformer):
        return alive(PerceptionLMForConditionalGeneration(config))


PICTURES = [[1, 1], [1]]  # images of each prompt
TILES = 3  # of every image, the first of which is the whole of it


def tiled(model, which):
    """Inputs of Perception LM: [I, T, 3, h, w], every image as a whole and in as many tiles."""
    call = padded(rows(which, PICTURES, lambda _: [IMAGE] * 9 * TILES))
    seeds = [100 * number + 10 * at for number in which for at, _ in enumerate(PICTURES[number])]
    return {**call, "pixel_values": torch.stack([noise(TILES, 3, 24, 24, seed=seed) for seed in seeds])}


SCENES = [["video", "image"], ["image", "video", "video"]]
FRAMES = 2  # of every video


def filmed(model, which):
    """Inputs of Perception LM with videos [V, F, 3, h, w] too; a frame is a tile."""
    marks = {"video": [VIDEO] * 9 * FRAMES, "image": [IMAGE] * 9 * TILES}
    every = [(one, 100 * number + 10 * at) for number in which for at, one in enumerate(SCENES[number])]
    return {
        **padded(rows(which, SCENES, marks.get)),
        "pixel_values": torch.stack([noise(TILES, 3, 24, 24, seed=seed) for one, seed in every if one == "image"]),
        "pixel_values_videos": torch.stack(
            [noise(FRAMES, 3, 24, 24, seed=seed) for one, seed in every if one == "video"]
        ),
    }


CASES = {
    "fast_vlm": Case(fast_vlm, tiles(run(24), SINGLE, size=(16, 24)), stand_in=True),
    "gemma3n": Case(gemma3n, tiles(run(36), SINGLE, token_type_ids=1), stand_in=True),
    "perception_lm": Case(perception_lm, tiled, stand_in=True),
}
