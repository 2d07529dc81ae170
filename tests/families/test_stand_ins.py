"""Families whose tower is a stand-in, and others whose images say less of themselves than most."""

import pytest
import torch
from families import cases, sized, stand_ins, tiny

import tokenprune
from tokenprune.encode import encode
from tokenprune.errors import AttachError
from tokenprune.family import family_of, tower_of
from tokenprune.tokens import VisualTokens


def asked(name):
    """A model and a call of all its prompts."""
    case = cases.CASES[name]
    model = case.build()
    return model, case.inputs(model, case.prompts)


def tokens_of(model, call) -> VisualTokens:
    placeholder, pipeline = call["input_ids"] == tiny.IMAGE, tokenprune.load("divprune")
    with torch.no_grad():
        return encode(family_of(model), model, call, pipeline, call["input_ids"], placeholder).tokens


@pytest.mark.parametrize("name", [name for name, case in cases.CASES.items() if case.stand_in])
def test_only_what_timm_brings_is_a_stand_in(name):
    from transformers import TimmWrapperModel

    model = cases.CASES[name].build()
    tower, _ = tower_of(family_of(model), model)
    assert type(tower) is TimmWrapperModel
    ours = {type(module) for module in model.modules() if type(module).__module__ == stand_ins.__name__}
    inside = {type(module) for module in tower.timm_model.modules()}
    assert ours
    assert ours <= inside


def test_tiles_of_an_image_share_its_budget_and_the_first_is_the_whole():
    model, call = asked("perception_lm")
    tokens = tokens_of(model, call)
    assert tokens.group.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert tokens.overview.tolist() == [True, False, False] * 3
    assert tokens.grid == (3, 3)


def test_images_of_several_tiles_are_told_apart_with_nothing_between_them():
    model, call = asked("perception_lm")
    ids = torch.tensor([[1, *[tiny.IMAGE] * 54, 7, 8]])
    alone = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": call["pixel_values"][:2]}
    with tokenprune.attach(model, "divprune", budget=4) as pruned:
        model.generate(**alone, max_new_tokens=1)
    assert [(image.before, image.after) for image in pruned.receipt.images] == [(27, 4), (27, 4)]


def test_tokens_that_pool_unlike_numbers_of_patches_are_refused():
    model, call = asked("perception_lm")
    call["pixel_values"] = tiny.noise(3, stand_ins.TILES, 3, 28, 28, seed=1)  # seven patches a side, three tokens
    with tokenprune.attach(model, "divprune", budget=4), pytest.raises(AttachError, match="3 tokens a side, each of 2"):
        model(**call)


def test_lines_of_an_image_are_told_by_what_goes_past_its_edge():
    model, call = asked("inkling_mm_model")
    canvas = tokens_of(model, call).canvas.tolist()
    assert canvas == [list(sized.past_the_edge(size)) for prompt in sized.ODD for size in prompt]


@pytest.mark.parametrize("last", [True, False])
def test_patches_without_padding_are_refused(last):
    model, call = asked("inkling_mm_model")
    call["pixel_values"] = call["pixel_values"].clone()
    call["pixel_values"][11 if last else 3] = 0.5  # the first image has twelve, four of them a line
    with tokenprune.attach(model, "divprune", budget=2), pytest.raises(AttachError, match="the 12 patches of an image"):
        model(**call)


def test_sound_beside_images_stays():
    model, call = asked("gemma3n")
    sound, mask = tiny.noise(2, 24, 16, seed=3), torch.ones(2, 24, dtype=torch.bool)
    model.config.audio_soft_tokens_per_image = room = 4
    more = torch.tensor([[*[stand_ins.SOUND] * room, 7]]).expand(2, -1)
    call["input_ids"] = torch.cat([call["input_ids"], more], 1)
    call["attention_mask"] = torch.cat([call["attention_mask"], torch.ones_like(more)], 1)
    call["token_type_ids"] = torch.cat([call["token_type_ids"], torch.zeros_like(more)], 1)
    call |= {"input_features": sound, "input_features_mask": mask}
    there, wishes = call["attention_mask"].bool(), {"max_new_tokens": 2, "do_sample": False}
    with torch.no_grad():
        logits, ids = model(**call).logits, model.generate(**call, **wishes)
        with tokenprune.attach(model, "divprune", budget="100%"):
            assert torch.equal(model(**call).logits[there], logits[there])
            assert torch.equal(model.generate(**call, **wishes), ids)
        with tokenprune.attach(model, "divprune", budget=1):
            dropped = model(**call).logits.isnan().any(-1)
    assert int(dropped[there].sum()) == 3 * 35
    assert set(call["input_ids"][dropped & there].tolist()) == {tiny.IMAGE}


@pytest.fixture
def diffusion(monkeypatch):
    """DiffusionGemma, and a prompt with one image."""
    from transformers import DiffusionGemmaConfig, DiffusionGemmaForBlockDiffusion

    monkeypatch.setattr(
        torch.compiler, "cudagraph_mark_step_begin", lambda: None
    )  # it loads compilers of graphics cards
    vision = {**tiny.VISION, "num_key_value_heads": 4, "head_dim": 8, "pooling_kernel_size": 2}
    language = tiny.text(
        layer_types=["full_attention"],
        head_dim=12,
        global_head_dim=12,
        num_experts=2,
        top_k_experts=1,
        moe_intermediate_size=16,
    )
    config = DiffusionGemmaConfig(
        text_config=language,
        vision_config={**vision, "position_embedding_size": 16},
        image_token_id=tiny.IMAGE,
        canvas_length=4,
    )
    model = DiffusionGemmaForBlockDiffusion(config).eval()
    return model, sized.placed(2)(model, [1])


def test_why_diffusion_gemma_is_refused_is_true(diffusion):
    model, call = diffusion
    one, two = ({"max_new_tokens": count, "max_denoising_steps": 1, "pad_token_id": 0} for count in (4, 8))
    pixels = {name: call.pop(name) for name in ("pixel_values", "image_position_ids")}
    length = call["input_ids"].shape[1]
    assert model.generate(**call, **pixels, **two)["sequences"].shape[1] == length + 8
    encoded = {"image": model.model.encoder.get_image_features(**pixels)}
    assert model.generate(**call, mm_encoder_outputs=encoded, **one)["sequences"].shape[1] == length + 4
    with pytest.raises(ValueError, match="tokens: 0, features"):
        model.generate(**call, mm_encoder_outputs=encoded, **two)
    with pytest.raises(tokenprune.errors.RefusedFamily, match="every later block again"):
        tokenprune.attach(model, "divprune")
