import pytest
import torch
from torch import nn
from transformers import CLIPVisionConfig, DynamicCache, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from tokenprune.measure.flops import flops

LAYERS, WIDTH, INNER, WORDS = 2, 32, 48, 64
SIDE, PATCH, TEXT = 16, 4, 9
TOKENS = (SIDE // PATCH) ** 2


def build(kernel, device="cpu", groups=1):
    """A tiny LLaVA whose tower and language model have the same sizes."""
    sizes = {"hidden_size": WIDTH, "intermediate_size": INNER, "num_hidden_layers": LAYERS, "num_attention_heads": 4}
    vision = CLIPVisionConfig(**sizes, image_size=SIDE, patch_size=PATCH)
    text = LlamaConfig(**sizes, num_key_value_heads=4 // groups, vocab_size=WORDS)
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=WORDS - 1, vision_feature_layer=-1)
    with torch.device(device):
        return LlavaForConditionalGeneration._from_config(config, attn_implementation=kernel).eval()


@torch.no_grad()
def count(model):
    device = model.device
    ids = torch.full((1, TEXT + TOKENS), WORDS - 1, device=device)
    ids[:, :TEXT] = 1
    pixels = torch.zeros(1, 3, SIDE, SIDE, device=device)
    features = model.model.get_image_features(pixels).pooler_output
    with flops() as tower:
        model.model.get_image_features(pixels)
    embeds = model.get_input_embeddings()(ids)
    cache = DynamicCache(config=model.config.text_config)
    with flops() as language:
        model(inputs_embeds=embeds, past_key_values=cache, logits_to_keep=1)
    assert features[0].shape[-2] == TOKENS
    return tower, language


def by_hand(tokens, groups=1, gated=True):
    """2 * L * (projections + attention + feed-forward), as in the literature, for full matrices."""
    keys = WIDTH // groups
    projections = tokens * (2 * WIDTH * WIDTH + 2 * WIDTH * keys)
    return 2 * LAYERS * (projections + 2 * tokens**2 * WIDTH + (3 if gated else 2) * tokens * WIDTH * INNER)


class TestLlava:
    @pytest.mark.parametrize("kernel", ["sdpa", "eager"])
    @pytest.mark.parametrize("device", ["cpu", "meta"])
    def test_equals_the_formula(self, kernel, device):
        tower, language = count(build(kernel, device))
        patches = 2 * TOKENS * 3 * PATCH**2 * WIDTH
        projector = 2 * TOKENS * (WIDTH * WIDTH + WIDTH * WIDTH)
        assert tower.total == patches + by_hand(TOKENS + 1, gated=False) + projector
        assert language.total == by_hand(TEXT + TOKENS) + 2 * WIDTH * WORDS

    @pytest.mark.parametrize("kernel", ["sdpa", "eager"])
    def test_grouped_queries_save_projections_only(self, kernel):
        _, language = count(build(kernel, groups=2))
        assert language.total == by_hand(TEXT + TOKENS, groups=2) + 2 * WIDTH * WORDS


def test_modules_are_counted_apart():
    model = nn.Sequential(nn.Linear(4, 8, bias=False), nn.Linear(8, 2, bias=False))
    with flops() as counted:
        model(torch.zeros(3, 4))
        assert counted.total == 2 * 3 * (4 * 8 + 8 * 2)
    parts = {"Sequential.0": 2 * 3 * 4 * 8, "Sequential.1": 2 * 3 * 8 * 2}
    assert counted.by_module == {"Sequential": sum(parts.values()), **parts}


def test_experts_side_by_side_are_counted():
    tokens, experts = torch.zeros(6, 16, dtype=torch.bfloat16), torch.zeros(3, 16, 32, dtype=torch.bfloat16)
    with flops() as counted:
        torch._grouped_mm(tokens, experts, offs=torch.tensor([2, 2, 6], dtype=torch.int32))
    assert counted.total == 2 * 6 * 16 * 32
