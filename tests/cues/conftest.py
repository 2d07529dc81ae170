import pytest
import torch
from transformers import CLIPVisionConfig, CLIPVisionModel, SiglipVisionConfig, SiglipVisionModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, AttentionInterface

SIZES = {
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 24,
    "patch_size": 4,
}
TOWERS = {"clip": (CLIPVisionModel, CLIPVisionConfig), "siglip": (SiglipVisionModel, SiglipVisionConfig)}


@pytest.fixture(autouse=True)
def registry_untouched():
    def snapshot():
        shared = {name: fn for name, fn in AttentionInterface._global_mapping.items() if name != "tokenprune"}
        return shared, dict(ALL_ATTENTION_FUNCTIONS._local_mapping)

    before = snapshot()
    yield
    assert snapshot() == before


@pytest.fixture
def build():
    def tower(kind="clip", seed=0):
        """A tiny tower whose attention is far from uniform."""
        model, config = TOWERS[kind]
        torch.manual_seed(seed)
        built = model(config(**SIZES))
        with torch.no_grad():
            for name, weight in built.named_parameters():
                if name.endswith(("q_proj.weight", "k_proj.weight")):
                    weight.normal_(0, 0.2)
        return built.eval()

    return tower


@pytest.fixture(params=sorted(TOWERS))
def tower(request, build):
    return build(request.param)


@pytest.fixture
def attention():
    """The attention of the layer before the last."""
    return lambda tower: [part for name, part in tower.named_modules() if name.endswith("self_attn")][-2]


@pytest.fixture
def pixels():
    return torch.randn(2, 3, 24, 24, generator=torch.Generator().manual_seed(1))
