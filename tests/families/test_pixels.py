"""The pixels of a token are those that its own vector is made of, in every family whose encoder shows them."""

import pytest
import torch
from families.cases import CASES

from tokenprune import VisualTokens, load
from tokenprune.errors import MissingCue
from tokenprune.family import family_of, tower_of
from tokenprune.modality import see
from tokenprune.patches import LEVELS, cutter_of, grey_histogram
from tokenprune.tokens import PIXELS
from tokenprune_strategies.patch_entropy import PatchEntropy

READ = {"name": "of pixels", "splitter": "equal", "budget": 5}
READ["scorer"] = {"use": "product", "of": ["patch_entropy", {"use": "key_norm", "layer": 0}]}
SHOWN = (  # by encoders of CLIP's and SigLIP's kinds
    *("llava", "llava, SigLIP", "llava_next", "llava_next_video", "llava_onevision", "llava_onevision, shrunk"),
    *("vipllava", "video_llava", "aya_vision", "cohere2_vision", "gemma3", "paligemma", "deepseek_vl", "janus"),
    *("shieldgemma2", "idefics3", "smolvlm", "granite4_vision"),
)


def tokens_of(model, inputs, pipeline):
    with torch.no_grad():
        return see(family_of(model), model, inputs, pipeline, inputs["input_ids"], inputs.get("attention_mask")).tokens


@pytest.mark.parametrize("name", sorted(CASES.keys() & set(SHOWN)))
def test_where_one_patch_is_noise_its_token_alone_has_anything_to_tell(name):
    """A key of the first layer is made of one patch before any looks at another: it says which token that is."""
    case = CASES[name]
    model = case.build()
    side = cutter_of(*tower_of(family_of(model), model)).kernel_size[0]
    inputs = case.inputs(model, case.prompts)
    pipeline = load(READ)
    key = next(one for one in inputs if one.startswith("pixel_values"))
    there = inputs[key].ne(0).flatten(-3).any(-1)[..., None, None, None]  # tiles of zeros stay padding
    pixels = (0.3 * there).expand(inputs[key].shape).clone()
    plain = tokens_of(model, {**inputs, key: pixels}, pipeline)
    assert not PatchEntropy().score(plain).any()
    flat = pixels.flatten(0, -4)  # [images, C, H, W]
    flat[0, :, side : 2 * side, :side] = torch.rand(3, side, side, generator=torch.Generator().manual_seed(0))
    noisy = tokens_of(model, {**inputs, key: pixels}, pipeline)
    changed = (noisy.cue("keys@0") != plain.cue("keys@0")).any(1)  # [B, N]
    valid = torch.ones_like(changed) if noisy.valid is None else noisy.valid
    assert changed[valid].sum() == 1
    assert torch.equal((PatchEntropy().score(noisy) > 0)[valid], changed[valid])


def test_a_family_that_does_not_show_them_says_so():
    case = CASES["qwen2_vl"]
    model = case.build()
    with pytest.raises(MissingCue, match="reads grey_histogram"):
        tokens_of(model, case.inputs(model, case.prompts), load(READ))


def test_levels_are_counted_as_a_loop_counts_them():
    images = torch.rand(2, 3, 9, 8, generator=torch.Generator().manual_seed(0)) * 5 - 2
    found = grey_histogram(images, (4, 2), before=1, after=2)
    assert found.shape == (2, LEVELS, 1 + 8 + 2)
    for image, shares in zip(images, found, strict=True):
        grey = image.mean(0)[:8]
        scaled = (grey - grey.min()) / (grey.max() - grey.min())
        for patch in range(8):
            y, x = patch // 4 * 4, patch % 4 * 2
            want = torch.zeros(LEVELS)
            for value in scaled[y : y + 4, x : x + 2].flatten().tolist():
                want[min(255, int(value * 256))] += 1 / 8
            assert torch.allclose(shares[:, 1 + patch], want)
    assert not found[:, :, [0, 9, 10]].any()


def test_entropy_is_counted_in_bits():
    levels = torch.zeros(1, LEVELS, 4)
    levels[0, 7, 0] = levels[0, :2, 1] = levels[0, :, 2] = 1.0
    tokens = VisualTokens(torch.zeros(1, 4, 2), cues={PIXELS: levels})
    assert PatchEntropy().score(tokens).tolist() == [pytest.approx([0.0, 1.0, 8.0, 0.0])]
